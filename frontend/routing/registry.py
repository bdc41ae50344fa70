"""Who belongs to the fleet: what discovery finds joins, what it finds no more leaves."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing, suppress

from drover import logs
from drover.names import ModelName
from frontend.routing.backends.base import Worker
from frontend.routing.conflicts import tell_conflicts
from frontend.routing.discovery.base import Discovery
from frontend.routing.managed_worker import ManagedWorker, report_death
from frontend.routing.policies.base import Policy
from frontend.routing.pool import Pool
from frontend.routing.served_model import Kind, ServedModel

_log = logging.getLogger("drover.fleet")
# How long one that is found no more may finish what it has.
_LEAVING_SECONDS = 3600.0
_REMEMBERED_SECONDS = 600.0
_MOST_REMEMBERED = 256


class WorkerRegistry:
    """A worker that discovery does not find any more gets no new requests, and finishes those that it has: a
    name service that loses it ends no answers. `changed` is called when there may be more room.
    """

    def __init__(
        self,
        discoveries: Sequence[Discovery],
        connect: Callable[[str], Worker],
        policy: Policy,
        changed: Callable[[], None],
        stall_seconds: float,
    ) -> None:
        self._discoveries = discoveries
        self._connect = connect
        self._policy = policy
        self._changed = changed
        self._stall_seconds = stall_seconds
        self._found: dict[int, frozenset[str]] = {}
        self._has_found = [asyncio.Event() for _ in discoveries]
        self._by_address: dict[str, ManagedWorker] = {}
        self._leaving: dict[str, tuple[ManagedWorker, asyncio.Task[None]]] = {}
        self._gone: deque[tuple[float, ServedModel]] = deque(maxlen=_MOST_REMEMBERED)
        self._tasks: set[asyncio.Task[None]] = set()
        self.members: Sequence[ManagedWorker] = ()
        """Those that new requests may go to. Never changed: another tuple takes its place."""
        self._pools: dict[Kind, Pool] = {}
        self.version = 0
        """Another one whenever a worker comes or goes, or is ready or not."""

    def pool(self, kind: Kind) -> Pool:
        pool = self._pools.get(kind)
        if pool is None:
            pool = self._pools[kind] = Pool(self.members, kind, self._policy)
        return pool

    def remembered(self, name: ModelName) -> ServedModel | None:
        """Of a worker that has gone: a pod that is replaced has no address for a while, and its model is not
        unknown for that.
        """
        now = time.monotonic()
        return next(
            (
                model
                for gone_at, model in reversed(self._gone)
                if model.name.key == name.key and now - gone_at < _REMEMBERED_SECONDS
            ),
            None,
        )

    def _remember(self, member: ManagedWorker) -> None:
        now = time.monotonic()
        self._gone.extend((now, model) for model in member.served)

    def start(self) -> None:
        """In the background: workers may come later. Channels belong to the running loop."""
        for number, discovery in enumerate(self._discoveries):
            self._keep(self._follow(number, discovery), f"discover workers, way {number}")

    async def wait_known(self) -> None:
        """Until each way has found its first workers, and each of them has answered or failed once."""
        await asyncio.gather(*(found.wait() for found in self._has_found))
        await asyncio.gather(*(member.is_known.wait() for member in self.members))

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        leaving = [member for member, _ in self._leaving.values()]
        await asyncio.gather(*(member.stop() for member in [*self.members, *leaving]))

    async def _follow(self, number: int, discovery: Discovery) -> None:
        async with aclosing(discovery.addresses()) as lists:
            async for addresses in lists:
                self._found[number] = frozenset(addresses)
                self._update()
                self._has_found[number].set()

    def _update(self) -> None:
        wanted = frozenset[str]().union(*self._found.values())
        for address in sorted(wanted - self._by_address.keys()):
            self._by_address[address] = self._back(address) or self._new(address)
        for address in self._by_address.keys() - wanted:
            member = self._by_address.pop(address)
            self._remember(member)
            logs.event(_log, logging.INFO, "worker is found no more", worker=address)
            letting_go = self._keep(self._let_go(address, member), f"let {address} go")
            self._leaving[address] = (member, letting_go)

        self.members = tuple(self._by_address.values())
        self._shifted()

    def _updated(self, member: ManagedWorker) -> None:
        if member.kind is not None and (pool := self._pools.get(member.kind)) is not None:
            pool.update(member)

    def _shifted(self) -> None:
        self._pools.clear()
        self.version += 1

    def _new(self, address: str) -> ManagedWorker:
        member = ManagedWorker(
            self._connect(address),
            self._changed,
            self._joined,
            self._stall_seconds,
            self._shifted,
            self._updated,
        )
        member.start()
        return member

    def _back(self, address: str) -> ManagedWorker | None:
        """Found again while it finishes what it has: two for one worker would each take a share."""
        if address not in self._leaving:
            return None
        member, letting_go = self._leaving.pop(address)
        letting_go.cancel()
        logs.event(_log, logging.INFO, "worker is found again", worker=address)
        return member

    def _joined(self, member: ManagedWorker) -> None:
        tell_conflicts(member, self.members)

    async def _let_go(self, address: str, member: ManagedWorker) -> None:
        """New requests do not find it; those that it has may finish."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING_SECONDS):
                await member.wait_idle()
        del self._leaving[address]
        await member.stop()

    def _keep(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(report_death)
        return task
