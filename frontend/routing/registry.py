"""Worker registry: the workers that discovery finds, from the first report to the last request."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, suppress

from drover import logs
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import Worker
from frontend.routing.discovery.base import Discovery
from frontend.routing.long_prompts import NO_LONG_PROMPTS, LongPrompts
from frontend.routing.managed_worker import ManagedWorker, log_task_failure
from frontend.routing.policies.base import Policy
from frontend.routing.pool import Pool
from frontend.routing.served_model import Kind, ServedModel

_log = logging.getLogger("drover.fleet")
# How long a worker that discovery removed may finish its requests.
_DRAIN_SECONDS = 3600.0
_REMEMBERED_SECONDS = 600.0
_MAX_REMEMBERED = 256


class WorkerRegistry:
    """Implements managed_worker.WorkerListener.

    A worker that discovery removes gets no new requests and finishes those that it has: a name service that
    loses an entry ends no response. `on_capacity_changed` is called when a worker may have more room.
    """

    def __init__(
        self,
        discoveries: Sequence[Discovery],
        connect: Callable[[str], Worker],
        policy: Policy,
        on_capacity_changed: Callable[[], None],
        stall_seconds: float,
        long_prompts: LongPrompts = NO_LONG_PROMPTS,
    ) -> None:
        self._long_prompts = long_prompts
        self._discoveries = discoveries
        self._connect = connect
        self._policy = policy
        self._on_capacity_changed = on_capacity_changed
        self._stall_seconds = stall_seconds
        self._found: dict[int, frozenset[str]] = {}
        self._has_found = [asyncio.Event() for _ in discoveries]
        self._by_address: dict[str, ManagedWorker] = {}
        self._draining: dict[str, tuple[ManagedWorker, asyncio.Task[None]]] = {}
        self._removed: deque[tuple[float, ServedModel]] = deque(maxlen=_MAX_REMEMBERED)
        self._tasks: set[asyncio.Task[None]] = set()
        self.workers: Sequence[ManagedWorker] = ()
        """Workers that new requests may go to. Never modified: replaced when discovery changes it."""
        self._pools: dict[Kind, Pool] = {}
        self.version = 0
        """Increased whenever a worker is added, removed, or changes its availability."""

    def pool(self, kind: Kind) -> Pool:
        """The ready workers that serve models of this kind."""
        pool = self._pools.get(kind)
        if pool is None:
            pool = self._pools[kind] = Pool(self.workers, kind, self._policy, self._long_prompts)
        return pool

    def recently_removed(self, name: ModelName) -> ServedModel | None:
        """The model of this name that a removed worker served. A pod that is being replaced has no address
        for a while, and its model must not be answered as unknown meanwhile.
        """
        now = time.monotonic()
        return next(
            (
                model
                for removed_at, model in reversed(self._removed)
                if model.name.key == name.key and now - removed_at < _REMEMBERED_SECONDS
            ),
            None,
        )

    def start(self) -> None:
        """Follow discovery in the background. Call in the running loop, to which channels belong."""
        for number, discovery in enumerate(self._discoveries):
            self._spawn(self._follow(number, discovery), f"follow discovery {number}")

    async def wait_known(self) -> None:
        """Until each discovery has found its first workers, and each of these has answered or failed once."""
        await asyncio.gather(*(found.wait() for found in self._has_found))
        await asyncio.gather(*(worker.is_known.wait() for worker in self.workers))

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        draining = [worker for worker, _ in self._draining.values()]
        await asyncio.gather(*(worker.stop() for worker in [*self.workers, *draining]))

    # WorkerListener

    def on_join(self, worker: ManagedWorker) -> None:
        log_name_conflicts(worker, self.workers)

    def on_availability(self, worker: ManagedWorker) -> None:
        self._discard_pools()

    def on_load(self, worker: ManagedWorker) -> None:
        if worker.kind is not None and (pool := self._pools.get(worker.kind)) is not None:
            pool.update(worker)

    def on_capacity(self, worker: ManagedWorker) -> None:
        self._on_capacity_changed()

    # Discovery

    async def _follow(self, number: int, discovery: Discovery) -> None:
        async with aclosing(discovery.addresses()) as lists:
            async for addresses in lists:
                self._found[number] = frozenset(addresses)
                self._reconcile()
                self._has_found[number].set()

    def _reconcile(self) -> None:
        """Add and remove workers until they are those that the discoveries have found."""
        wanted = frozenset[str]().union(*self._found.values())
        for address in sorted(wanted - self._by_address.keys()):
            self._by_address[address] = self._rejoin(address) or self._add(address)
        for address in self._by_address.keys() - wanted:
            self._remove(address)
        self.workers = tuple(self._by_address.values())
        self._discard_pools()

    def _add(self, address: str) -> ManagedWorker:
        worker = ManagedWorker(self._connect(address), self, self._stall_seconds)
        worker.start()
        return worker

    def _rejoin(self, address: str) -> ManagedWorker | None:
        """Reuse the draining worker of this address, if any: a second one would double-count capacity."""
        if address not in self._draining:
            return None
        worker, drain = self._draining.pop(address)
        drain.cancel()
        logs.event(_log, logging.INFO, "worker found again by discovery", worker=address)
        return worker

    def _remove(self, address: str) -> None:
        worker = self._by_address.pop(address)
        now = time.monotonic()
        self._removed.extend((now, model) for model in worker.served)
        logs.event(_log, logging.INFO, "worker removed by discovery", worker=address)
        self._draining[address] = (worker, self._spawn(self._drain(address, worker), f"drain {address}"))

    async def _drain(self, address: str, worker: ManagedWorker) -> None:
        """Close the worker once its requests have ended."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await worker.wait_idle()
        del self._draining[address]
        await worker.stop()

    def _discard_pools(self) -> None:
        self._pools.clear()
        self.version += 1

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(log_task_failure)
        return task


def log_name_conflicts(joined: ManagedWorker, workers: Iterable[ManagedWorker]) -> None:
    """Warn if a worker that joins gives a name to other files than a ready worker does: only the newest files
    get requests. Workers for different tasks may share a name: one generates, one embeds.
    """
    for other in workers:
        if not other.ready or joined.model is None or other.model is None:
            continue
        names = _shared_names(joined.model, other.model)
        if not names or joined.model.digest == other.model.digest:
            continue
        newer, older = sorted((joined.model, other.model), key=_newest_first)
        logs.event(
            _log,
            logging.WARNING,
            "workers give one name to different model files: the newer ones get all new requests",
            names=names,
            workers=[joined.address, other.address],
            newer=newer.digest[:12],
            older=older.digest[:12],
        )


def _shared_names(one: pb.Model, other: pb.Model) -> list[str]:
    """Names in common, in any letter case; none if the models are for different tasks."""
    if not (_both(one, other, "completion") or _both(one, other, "embedding")):
        return []
    theirs = {name.casefold() for name in other.names}
    return [name for name in one.names if name.casefold() in theirs]


def _both(one: pb.Model, other: pb.Model, capability: str) -> bool:
    return bool(getattr(one.capabilities, capability) and getattr(other.capabilities, capability))


def _newest_first(model: pb.Model) -> tuple[int, int]:
    """The order in which Fleet.find chooses."""
    return (-model.modified_unix_ns, -int(model.digest or "0", 16))
