"""The GPUs of a host: what models may take of each, what they take, and how a worker gets its own."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from engine_worker.host.memory.base import GpuDriver, GpuUse
from engine_worker.host.memory.placement import Placement
from engine_worker.host.plan import Gpu, State
from engine_worker.host.workers.child import Child
from engine_worker.host.workers.process import processes_of

# Of a GPU's memory: the driver and CUDA need some of it, and use comes in steps.
_SHARE = 0.9


class Gpus:
    """`limit_bytes`: for models, of each GPU; 0 for nine tenths of it. What other programs take is never for
    models.
    """

    def __init__(self, driver: GpuDriver, limit_bytes: int) -> None:
        self._driver = driver
        self._devices = {device.id: device for device in driver.devices}
        self._limit_bytes = limit_bytes
        self._foreign: dict[str, int] = {}
        """What other programs take of each."""

    def __bool__(self) -> bool:
        return bool(self._devices)

    @property
    def least_bytes(self) -> int:
        """The budget of the smallest one, for estimates; 0 without GPUs."""
        return min((self._limit(each) for each in self._devices), default=0)

    @property
    def budgets(self) -> Sequence[Gpu]:
        return [
            Gpu(
                each.id,
                max(0, min(self._limit(each.id), each.total_bytes - self._foreign.get(each.id, 0))),
                is_part=each.number is None,
            )
            for each in self._devices.values()
        ]

    def room(self, others: Collection[Child], gpus: Collection[str]) -> int:
        """Of each of these GPUs, what the others leave."""
        room = Counter({each.id: each.budget_bytes for each in self.budgets})
        for child in others:
            room.subtract(dict.fromkeys(child.place.gpus, child.gpu_bytes))
        return min((room[gpu] for gpu in gpus), default=0)

    def available(self, children: Collection[Child], count: int) -> int:
        """Of each of so many GPUs, for a model that is not pinned, when all others are evicted."""
        pinned = [each for each in children if each.is_pinned]
        rooms = sorted((self.room(pinned, [gpu.id]) for gpu in self.budgets), reverse=True)
        return rooms[count - 1] if 0 < count <= len(rooms) else 0

    def place(self, gpus: tuple[str, ...]) -> Placement:
        """Reads the driver: takes about a millisecond for each GPU."""
        if not self._devices:
            return Placement()
        devices = [self._devices[each] for each in gpus]
        used = {each.id: use.used_bytes for each in devices if (use := self._driver.read(each))}
        free_bytes = min((each.total_bytes - used.get(each.id, 0) for each in devices), default=0)
        # SGLang reads the variable as numbers where it has several GPUs.
        names = [str(each.number) for each in devices] if len(devices) > 1 else gpus
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(names), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
        return Placement(gpus, used, free_bytes, environment)

    async def measure(self, children: Collection[Child]) -> bool:
        """Set what each child takes of its GPUs. Returns whether anything has changed."""
        if not self._devices:
            return False
        roots = [child.process.pid for child in children if child.place.gpus]
        uses, owners = await asyncio.to_thread(self._read, roots)
        before = (dict(self._foreign), [child.gpu_bytes for child in children])
        for child in children:
            if child.place.gpus:
                child.on_gpu_measured(max(self._of(child, gpu, uses, owners) for gpu in child.place.gpus))
        for gpu, use in uses.items():
            here = [child for child in children if gpu in child.place.gpus]
            # What a load takes is not known to the end, and to whom it belongs may be hidden.
            if all(child.state is State.READY for child in here):
                own = sum(self._of(child, gpu, uses, owners) or child.gpu_bytes for child in here)
                self._foreign[gpu] = max(0, use.used_bytes - own)
        return before != (self._foreign, [child.gpu_bytes for child in children])

    def _read(self, roots: Sequence[int]) -> tuple[Mapping[str, GpuUse], Mapping[int, int]]:
        """What is used of each GPU, and to which of the `roots` processes belong. Blocks."""
        uses = {each.id: use for each in self._devices.values() if (use := self._driver.read(each))}
        return uses, {pid: root for root in roots for pid in processes_of(root)}

    def _of(self, child: Child, gpu: str, uses: Mapping[str, GpuUse], owners: Mapping[int, int]) -> int:
        """By the driver's list of processes. Where that shows none of the child's, as in a container: what
        was added while it loaded, when no other one did.
        """
        use = uses.get(gpu)
        if use is None:
            return 0
        shown = sum(taken for pid, taken in use.by_pid.items() if owners.get(pid) == child.process.pid)
        if shown or child.gpu_measured_bytes or child.state is not State.READY:
            return shown
        return max(0, use.used_bytes - child.gpu_used_before.get(gpu, use.used_bytes))

    def _limit(self, gpu: str) -> int:
        total_bytes = self._devices[gpu].total_bytes
        return min(self._limit_bytes, total_bytes) if self._limit_bytes else round(total_bytes * _SHARE)
