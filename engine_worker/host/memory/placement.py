"""The GPUs that a worker starts on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from engine_worker.host.models.base import StoredModel

# What a process takes of a GPU before its engine looks how much is free.
_CONTEXT_BYTES = 1 << 30
_MOST = 0.95


@dataclass(frozen=True, slots=True)
class Placement:
    """`used_bytes`: of each GPU by all processes, before the start; `free_bytes`: of the one with the least.
    `environment`: shows the worker these GPUs and no others; empty where the host knows of none.
    """

    gpus: tuple[str, ...] = ()
    used_bytes: Mapping[str, int] = field(default_factory=dict)
    free_bytes: int = 0
    environment: Mapping[str, str] = field(default_factory=dict)

    def flags(self, model: StoredModel) -> Sequence[str]:
        """SGLang takes a part of what is free when it starts, by default nearly all."""
        free_bytes = self.free_bytes - _CONTEXT_BYTES
        if not self.gpus or not model.static_gpu_bytes or free_bytes <= 0:
            return ()
        part = math.ceil(1000 * model.static_gpu_bytes / free_bytes) / 1000
        return "--gpu-memory-part", str(min(_MOST, part))
