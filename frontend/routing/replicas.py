"""Calls for all replicas of a model, of which a host may have to start the first.

fleet -> replicas -> scheduler, hosts
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from drover.errors import DroverError, RetryElsewhere, WorkerDraining, WorkerUnreachable
from frontend.routing.fair_queue import Ticket
from frontend.routing.hosts.hosts import Hosts
from frontend.routing.managed_worker import ManagedWorker
from frontend.routing.scheduler import QueueObserver, Scheduler
from frontend.routing.served_model import ServedModel

_log = logging.getLogger("drover.fleet")
_SETTLE_SECONDS = 2.0
_POLL_SECONDS = 0.05


class Replicas:
    def __init__(self, scheduler: Scheduler, hosts: Hosts) -> None:
        self._scheduler = scheduler
        self._hosts = hosts

    async def until_loaded(self, model: ServedModel, observer: QueueObserver | None = None) -> None:
        """Wait in the model's queue until a worker serves it, if a host has to start one."""
        if not self._scheduler.replicas(model) and self._scheduler.may_load(model):
            if observer is None:
                permit, _ = await self._scheduler.acquire(model, Ticket(), {})
            else:
                permit, _ = await self._scheduler.acquire_observed(model, Ticket(), {}, observer)
            permit.release()

    async def use(
        self,
        model: ServedModel,
        call: Callable[[Sequence[ManagedWorker]], Awaitable[None]],
        observer: QueueObserver | None = None,
    ) -> None:
        """Make a call with all replicas that can be reached, of which a host starts one if there is none;
        once more if they end at that moment. Raises NoWorkerReady, and what `call` raises.
        """
        await self.until_loaded(model, observer)
        workers = self._scheduler.require_ready(model)
        try:
            await call(workers)
        except RetryElsewhere as error:
            if not await self.have_ended(model, workers, error):
                raise
            await self.until_loaded(model)
            await call(self._scheduler.require_ready(model))

    async def unload(self, model: ServedModel) -> None:
        """Raises NoWorkerReady, and the last one's error if all fail, but not if a host has ended them."""
        if not self._scheduler.replicas(model) and self._hosts.has(model.kind[0]):
            return
        workers = self._scheduler.require_ready(model)
        try:
            await wait_for_any(worker.unload_model() for worker in workers)
        except RetryElsewhere as error:
            if not await self.have_ended(model, workers, error):
                raise

    async def have_ended(
        self, model: ServedModel, workers: Collection[ManagedWorker], error: RetryElsewhere
    ) -> bool:
        """Whether a call failed with `error` because a host has ended these workers, which is known a moment
        after that.
        """
        if not (isinstance(error, WorkerUnreachable | WorkerDraining) and self._hosts.has(model.kind[0])):
            return False
        deadline = time.monotonic() + _SETTLE_SECONDS
        while is_there := any(worker in workers for worker in self._scheduler.replicas(model)):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_POLL_SECONDS)
        return not is_there


async def wait_for_any(calls: Iterable[Awaitable[object]]) -> None:
    """Await all at the same time. One success is enough: a worker that is away has nothing loaded.

    Raises the last error if all fail.
    """
    results = await asyncio.gather(*calls, return_exceptions=True)
    failures = [result for result in results if isinstance(result, BaseException)]
    for failure in failures:
        if not isinstance(failure, DroverError):
            raise failure
        _log.warning("call to one of %d replicas failed: %s", len(results), failure.message)
    if len(failures) == len(results):
        raise failures[-1]
