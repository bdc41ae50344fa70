"""llama.cpp in a process of its own, through the xllamacpp wheel: the engine for machines without a GPU."""

from engine_worker.engines.llamacpp.engine import LlamacppEngine
from engine_worker.engines.llamacpp.options import LlamacppOptions

__all__ = ["LlamacppEngine", "LlamacppOptions"]
