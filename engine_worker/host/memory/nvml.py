"""NVIDIA's GPUs, as the driver's management library (NVML) tells of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from drover import logs
from engine_worker.host.memory.base import GpuDevice, GpuDriver, GpuUse, NoGpus

try:
    import pynvml
except ImportError:
    pynvml = None

_log = logging.getLogger("drover.host")
Handle = Any
"""Of a device, as the library has it."""


class Nvml:
    """Implements GpuDriver. `visible`: CUDA_VISIBLE_DEVICES of the host, whose numbers are read as those of
    the PCI bus; None for all devices. Raises pynvml.NVMLError where there is no driver.
    """

    def __init__(self, visible: str | None) -> None:
        pynvml.nvmlInit()
        self._handles: dict[str, Handle] = {}
        found = list(self._find())
        self.devices: Sequence[GpuDevice] = found if visible is None else list(_chosen(found, visible))

    def read(self, device: GpuDevice) -> GpuUse | None:
        handle = self._handles[device.id]
        try:
            used_bytes = int(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
        except pynvml.NVMLError:
            return None
        return GpuUse(used_bytes, _by_pid(handle))

    def _find(self) -> Iterator[GpuDevice]:
        for number in range(pynvml.nvmlDeviceGetCount()):
            handle = pynvml.nvmlDeviceGetHandleByIndex(number)
            parts = list(_parts(handle))
            # Of a GPU that is divided CUDA uses the parts only.
            for each in parts or [handle]:
                device_id = _text(pynvml.nvmlDeviceGetUUID(each))
                self._handles[device_id] = each
                total_bytes = int(pynvml.nvmlDeviceGetMemoryInfo(each).total)
                yield GpuDevice(device_id, None if parts else number, total_bytes)


def open_gpus(visible: str | None) -> GpuDriver:
    """Those of the driver; none without the library (the package nvidia-ml-py) or a driver."""
    if pynvml is None:
        return NoGpus()
    try:
        return Nvml(visible)
    except pynvml.NVMLError as error:
        logs.event(_log, logging.DEBUG, "no GPU is known", reason=str(error))
        return NoGpus()


def _parts(handle: Handle) -> Iterator[Handle]:
    with suppress(pynvml.NVMLError):
        current, _ = pynvml.nvmlDeviceGetMigMode(handle)
        if current != pynvml.NVML_DEVICE_MIG_ENABLE:
            return
        for number in range(pynvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
            # Not all places of parts are taken.
            with suppress(pynvml.NVMLError):
                yield pynvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number)


def _by_pid(handle: Handle) -> Mapping[int, int]:
    """A process that computes and draws is in both lists, with the same figure."""
    found: dict[int, int] = {}
    for processes in (
        pynvml.nvmlDeviceGetComputeRunningProcesses,
        pynvml.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        with suppress(pynvml.NVMLError):
            # The figure is None where the driver hides it.
            found |= {each.pid: int(each.usedGpuMemory or 0) for each in processes(handle)}
    return found


def _chosen(found: Sequence[GpuDevice], visible: str) -> Iterator[GpuDevice]:
    """As CUDA reads it: numbers or beginnings of ids; the first that is none ends the list."""
    for wanted in (each.strip() for each in visible.split(",")):
        device = next((each for each in found if _is(each, wanted)), None)
        if device is None:
            return
        yield device


def _is(device: GpuDevice, wanted: str) -> bool:
    if wanted.isdecimal():
        return device.number == int(wanted)
    return bool(wanted) and device.id.startswith(wanted)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
