"""What a host asks a driver of GPUs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class GpuDevice:
    """A GPU, or a part of one (MIG). `number`: in the order of the PCI bus; None for a part."""

    id: str
    number: int | None
    total_bytes: int


@dataclass(frozen=True, slots=True)
class GpuUse:
    """`by_pid`: of the processes that the driver shows; in a container it may show none."""

    used_bytes: int
    by_pid: Mapping[int, int] = field(default_factory=dict)


class GpuDriver(Protocol):
    """Finds the GPUs that this host may use, once, and reads what is taken of them."""

    @property
    def devices(self) -> Sequence[GpuDevice]: ...

    def read(self, device: GpuDevice) -> GpuUse | None:
        """None if the driver does not answer. Takes about a millisecond."""


class NoGpus:
    """Implements GpuDriver for a machine without GPUs, or without a driver that tells of them."""

    devices: Sequence[GpuDevice] = ()

    def read(self, device: GpuDevice) -> GpuUse | None:
        return None
