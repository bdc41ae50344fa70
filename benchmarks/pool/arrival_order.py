"""What Drover is compared with: one pending queue at each host, handled in order of arrival.

That is how Ollama's scheduler works: the first request of the queue whose model is not in memory evicts one,
waits until that has ended its requests, loads, and all behind it wait meanwhile. A host's own plan has then
nothing to decide: requests for models that are not in memory come one at a time, and room has been made.

- `LEAST_RECENTLY_USED`: the model that was used least recently makes room, for each request.
- `LIKE_OLLAMA`: an idle model makes room, or else any; and requests for a model that is in memory pass the
  queue, as in Ollama since it has that short cut.

Both get more than Ollama has: the queues share the two hosts by what is in memory or waited for there, and a
model that makes room takes no new requests, so that the queue cannot be blocked for ever (ollama #17408).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import httpx

from benchmarks.pool.clients import Send
from benchmarks.pool.host_states import HostRecord, Moment

MODELS_IN_MEMORY = 2


@dataclass(frozen=True, slots=True)
class Policy:
    name: str
    has_short_cut: bool
    prefers_idle: bool


LEAST_RECENTLY_USED = Policy("least recently used, per request", has_short_cut=False, prefers_idle=False)
LIKE_OLLAMA = Policy("like Ollama", has_short_cut=True, prefers_idle=True)


@dataclass(eq=False)
class _Host:
    """`pending`: requests in order of arrival, each until it may be sent. `current`: the model of the one
    that is handled now.
    """

    record: HostRecord
    send: Send
    pending: deque[tuple[str, asyncio.Future[None]]] = field(default_factory=deque)
    has_pending: asyncio.Event = field(default_factory=asyncio.Event)
    running: Counter[str] = field(default_factory=Counter)
    used: dict[str, float] = field(default_factory=dict)
    current: str = ""

    async def until_changed(self, is_true: Callable[[Moment], bool]) -> None:
        while not is_true(self.record.now):
            await self.record.changed.wait()


class ArrivalOrder:
    """Sends requests as the policy says."""

    def __init__(self, policy: Policy, hosts: Sequence[tuple[HostRecord, Send]]) -> None:
        self._policy = policy
        self._hosts = [_Host(record, send) for record, send in hosts]
        self._random = random.Random(1)

    async def run(self) -> None:
        await asyncio.gather(*(self._handle(host) for host in self._hosts))

    async def __call__(self, model: str) -> httpx.Response:
        host = self._host_for(model)
        if not (self._policy.has_short_cut and model in host.record.now.ready):
            turn = asyncio.get_running_loop().create_future()
            host.pending.append((model, turn))
            host.has_pending.set()
            await turn
        host.running[model] += 1
        host.used[model] = time.monotonic()
        try:
            return await host.send(model)
        finally:
            host.running[model] -= 1

    def _host_for(self, model: str) -> _Host:
        """One that has the model, else one where it is pending, else the one with the shorter queue."""

        def rank(host: _Host) -> tuple[bool, bool, int]:
            now = host.record.now
            is_pending = host.current == model or any(name == model for name, _ in host.pending)
            return model not in now.ready and model not in now.loading, not is_pending, len(host.pending)

        return min(self._hosts, key=rank)

    async def _handle(self, host: _Host) -> None:
        while True:
            while not host.pending:
                host.has_pending.clear()
                await host.has_pending.wait()
            host.current, turn = host.pending.popleft()
            model = host.current
            is_loaded = model in host.record.now.ready
            if not is_loaded:
                await self._make_room(host)
            if not turn.done():
                turn.set_result(None)
                # It counts as running before the next one is looked at.
                await asyncio.sleep(0)
                if not is_loaded:
                    await host.until_changed(_has(model))
            host.current = ""

    async def _make_room(self, host: _Host) -> None:
        now = host.record.now
        if len(now.ready) + len(now.loading) < MODELS_IN_MEMORY:
            return
        victims = sorted(now.ready, key=lambda name: host.used.get(name, 0.0))
        if self._policy.prefers_idle:
            self._random.shuffle(victims)
            victims.sort(key=lambda name: host.running[name] > 0)
        await host.record.release(victims[0])
        await host.until_changed(lambda now: victims[0] not in now.ready)


def _has(model: str) -> Callable[[Moment], bool]:
    return lambda now: model in now.ready
