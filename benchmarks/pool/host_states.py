"""What a host says of itself while it is measured, and how much memory its workers really take."""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import psutil

from drover.v1 import host_pb2, host_pb2_grpc
from tests.support.hosts import worker_pids

_MEMORY_SECONDS = 0.5
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Moment:
    """The host's state from `at` on (time.monotonic). `ready`: models in memory that take requests, and since
    when; `turns`: models that are waited for, in the order of their turns.
    """

    at: float
    ready: dict[str, float]
    loading: Collection[str]
    draining: Collection[str]
    turns: Sequence[str]


@dataclass(eq=False)
class HostRecord:
    """Of one host. `load_seconds`: of each load. `most_mib`: claimed, and measured if `is_measured`."""

    address: str
    store: Path
    is_measured: bool
    moments: list[Moment] = field(default_factory=list)
    load_seconds: list[float] = field(default_factory=list)
    most_claimed_mib: float = 0.0
    most_measured_mib: float = 0.0
    memory_samples: int = 0
    is_known: asyncio.Event = field(default_factory=asyncio.Event)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Of the next change."""
    _names: dict[str, str] = field(default_factory=dict)
    _began: dict[str, float] = field(default_factory=dict)

    @property
    def now(self) -> Moment:
        return self.moments[-1]

    def during(self, begin: float, end: float) -> Sequence[Moment]:
        """The moments that were true within this time."""
        first = bisect_right(self.moments, begin, key=lambda each: each.at) - 1
        return self.moments[max(0, first) : bisect_left(self.moments, end, key=lambda each: each.at)]

    async def follow(self) -> None:
        async with grpc.aio.insecure_channel(self.address) as channel:
            async for state in host_pb2_grpc.HostStub(channel).Watch(host_pb2.WatchHostRequest()):
                self._on_state(state)
                self.is_known.set()
                self.changed.set()
                self.changed = asyncio.Event()

    async def release(self, name: str) -> None:
        async with grpc.aio.insecure_channel(self.address) as channel:
            await host_pb2_grpc.HostStub(channel).Release(host_pb2.ReleaseRequest(model=name))

    async def measure_memory(self) -> None:
        while self.is_measured:
            used = await asyncio.to_thread(_used_mib, self.store)
            self.most_measured_mib = max(self.most_measured_mib, used)
            self.memory_samples += 1
            await asyncio.sleep(_MEMORY_SECONDS)

    def _on_state(self, state: host_pb2.HostState) -> None:
        now = time.monotonic()
        for stored in state.stored.models:
            self._names[stored.card.manifest] = stored.card.names[0].removesuffix(":latest")
        before = self.moments[-1].ready if self.moments else {}
        by_state: dict[int, list[str]] = {}
        for child in state.children:
            by_state.setdefault(child.state, []).append(self._names[child.digest])
        ready = {name: before.get(name, now) for name in by_state.get(host_pb2.Child.READY, ())}
        loading = by_state.get(host_pb2.Child.LOADING, ())
        for name in loading:
            self._began.setdefault(name, now)
        for name in ready.keys() & self._began.keys():
            self.load_seconds.append(now - self._began.pop(name))
        turns = [self._names[key] for key in state.turns]
        self.moments.append(Moment(now, ready, loading, by_state.get(host_pb2.Child.DRAINING, ()), turns))
        self.most_claimed_mib = max(self.most_claimed_mib, state.used_bytes / _MIB)


def _used_mib(store: Path) -> float:
    """Of all processes of the host's workers, shared pages in proportion (PSS)."""
    used = 0
    for pid in worker_pids(store):
        with suppress(psutil.Error, FileNotFoundError):
            root = psutil.Process(pid)
            for process in (root, *root.children(recursive=True)):
                with suppress(psutil.Error):
                    used += process.memory_full_info().pss
    return used / _MIB
