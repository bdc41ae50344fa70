"""A stand-in for NVIDIA's management library at its C interface: the real package nvidia-ml-py calls it in
place of libnvidia-ml.so.1. It has the calls that a worker host uses, and no GPU.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any

import pynvml
import pytest

Out = Any
"""A reference (ctypes.byref), whose object a call fills in."""


@dataclass
class FakeGpu:
    """`by_pid`: what the driver tells of processes; `hidden`: of processes that it does not show, as those
    outside of a container. `parts`: of MIG.
    """

    uuid: str
    total_bytes: int
    by_pid: dict[int, int] = field(default_factory=dict)
    hidden: int = 0
    parts: tuple[FakeGpu, ...] = ()

    @property
    def used_bytes(self) -> int:
        return self.hidden + sum(self.by_pid.values())


class FakeNvml:
    """`is_lost`: every reading fails, as that of a GPU that fell off its bus."""

    def __init__(self, *gpus: FakeGpu) -> None:
        self.gpus = gpus
        self.is_lost = False
        self._by_handle = [None, *(each for gpu in gpus for each in (gpu, *gpu.parts))]

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(pynvml, "nvmlLib", self)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    def nvmlInitWithFlags(self, flags: int) -> int:
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetCount_v2(self, count: Out) -> int:
        count._obj.value = len(self.gpus)
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetHandleByIndex_v2(self, index: ctypes.c_uint, handle: Out) -> int:
        return self._set_handle(handle, self.gpus[index.value])

    def nvmlDeviceGetUUID(self, handle: Out, text: Out, length: object) -> int:
        text.value = self._of(handle).uuid.encode()
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetMemoryInfo(self, handle: Out, memory: Out) -> int:
        if self.is_lost:
            return int(pynvml.NVML_ERROR_GPU_IS_LOST)
        gpu = self._of(handle)
        memory._obj.total, memory._obj.used = gpu.total_bytes, gpu.used_bytes
        memory._obj.free = gpu.total_bytes - gpu.used_bytes
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetMigMode(self, handle: Out, current: Out, pending: Out) -> int:
        current._obj.value = pending._obj.value = int(bool(self._of(handle).parts))
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Out, count: Out) -> int:
        count._obj.value = 7
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Out, index: ctypes.c_uint, part: Out) -> int:
        parts = self._of(handle).parts
        if index.value >= len(parts):
            return int(pynvml.NVML_ERROR_NOT_FOUND)
        return self._set_handle(part, parts[index.value])

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle: Out, count: Out, found: Out) -> int:
        by_pid = self._of(handle).by_pid
        if not by_pid:
            return int(pynvml.NVML_SUCCESS)
        if found is None:
            count._obj.value = len(by_pid)
            return int(pynvml.NVML_ERROR_INSUFFICIENT_SIZE)
        count._obj.value = len(by_pid)
        for number, (pid, used_bytes) in enumerate(by_pid.items()):
            found[number].pid, found[number].usedGpuMemory = pid, used_bytes
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetGraphicsRunningProcesses_v3(self, handle: Out, count: Out, found: Out) -> int:
        return int(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def _set_handle(self, handle: Out, gpu: FakeGpu) -> int:
        number = next(number for number, each in enumerate(self._by_handle) if each is gpu)
        address = ctypes.cast(ctypes.pointer(handle._obj), ctypes.POINTER(ctypes.c_size_t))
        address[0] = number
        return int(pynvml.NVML_SUCCESS)

    def _of(self, handle: Out) -> FakeGpu:
        gpu = self._by_handle[ctypes.cast(handle, ctypes.c_void_p).value or 0]
        assert gpu is not None
        return gpu
