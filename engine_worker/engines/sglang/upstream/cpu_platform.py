"""SGLang on a machine without an accelerator: an out-of-tree platform.

SGLang's own CPU platform needs AMX kernels that its wheels do not have. This one asks for nothing but torch:
attention in plain torch, no graph capture, no compiler, collectives over gloo.
"""

from __future__ import annotations

import platform
import resource

import psutil
import torch
from sglang.srt.platforms.interface import PlatformEnum, SRTPlatform

from engine_worker.engines.sglang.upstream.environment import has_accelerator

_BYTES_PER_RSS_UNIT = 1024


def activate() -> str | None:
    """The plugin's entry point: the platform's class, or None if SGLang has a platform of its own."""
    return None if has_accelerator() else f"{CpuPlatform.__module__}:{CpuPlatform.__name__}"


class CpuPlatform(SRTPlatform):
    _enum = PlatformEnum.OOT
    device_name = "cpu"
    device_type = "cpu"

    def get_device_total_memory(self, device_id: int = 0) -> int:
        return int(psutil.virtual_memory().total)

    def get_current_memory_usage(self, device: torch.device | None = None) -> float:
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_RSS_UNIT)

    def get_default_attention_backend(self) -> str:
        return "torch_native"

    def get_device(self, device_id: int = 0) -> str:
        return "cpu"

    def get_device_name(self, device_id: int = 0) -> str:
        return platform.processor() or platform.machine()

    def get_device_uuid(self, device_id: int = 0) -> str:
        return "cpu"

    def get_torch_distributed_backend_str(self) -> str:
        return "gloo"

    def get_compile_backend(self, mode: str | None = None) -> str:
        return "eager"
