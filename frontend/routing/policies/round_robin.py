"""Policy: round robin."""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Generic

from frontend.routing.policies.base import Choices, Chosen

# Beyond this many addresses all are forgotten, and with them workers that were removed.
_MAX_KNOWN = 4096
_MIN_STALE = 64


class RoundRobin:
    """Implements Policy: the worker that was picked longest ago. Turns are kept by
    address for all models and pools, so that a new pool does not start again with the first worker.
    """

    def __init__(self) -> None:
        self._turns = _Turns()

    def choices(self, workers: Sequence[Chosen]) -> Choices[Chosen]:
        return _InTurn(self._turns, workers)


class _Turns:
    """Number of each address's last turn, 0 for never."""

    def __init__(self) -> None:
        self._newest = 0
        self._last: dict[str, int] = {}

    def of(self, address: str) -> int:
        return self._last.get(address, 0)

    def picked(self, address: str) -> None:
        if len(self._last) > _MAX_KNOWN:
            self._last.clear()
        self._newest += 1
        self._last[address] = self._newest


class _InTurn(Generic[Chosen]):
    """Implements Choices: a heap of turns. Workers that were never picked go first, in their given order."""

    def __init__(self, turns: _Turns, workers: Sequence[Chosen]) -> None:
        self._turns = turns
        self._workers = workers
        self._numbers = {worker: number for number, worker in enumerate(workers)}
        # Each candidate's turn and number. The heap has these entries, and stale ones, dropped lazily.
        self._entries: dict[Chosen, tuple[int, int]] = {}
        self._heap: list[tuple[int, int]] = []

    def put(self, candidate: Chosen) -> None:
        if candidate not in self._entries:
            self._enter(candidate)

    def drop(self, candidate: Chosen) -> None:
        self._entries.pop(candidate, None)

    def pick(self, affinity: bytes | None) -> Chosen | None:
        while self._heap:
            entry = heappop(self._heap)
            worker = self._workers[entry[1]]
            if self._entries.get(worker) != entry:
                continue
            is_current = entry[0] == self._turns.of(worker.address)
            if is_current:
                self._turns.picked(worker.address)
            self._enter(worker)
            if is_current:
                return worker
        return None

    def _enter(self, worker: Chosen) -> None:
        entry = self._entries[worker] = (self._turns.of(worker.address), self._numbers[worker])
        heappush(self._heap, entry)
        if len(self._heap) > 2 * len(self._entries) + _MIN_STALE:
            self._heap = list(self._entries.values())
            heapify(self._heap)
