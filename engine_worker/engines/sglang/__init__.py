"""SGLang in this process and its children: the engine for GPUs, and with our platform for any CPU.

Nothing here imports SGLang before the engine starts: `upstream` does, and only there.
"""

from engine_worker.engines.sglang.options import SglangOptions

__all__ = ["SglangOptions"]
