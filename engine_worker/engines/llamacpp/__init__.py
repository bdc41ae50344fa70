"""llama.cpp in this process, through the xllamacpp wheel: the engine for machines without a GPU."""

from engine_worker.engines.llamacpp.engine import LlamacppEngine
from engine_worker.engines.llamacpp.options import LlamacppOptions

__all__ = ["LlamacppEngine", "LlamacppOptions"]
