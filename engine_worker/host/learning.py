"""What loads teach of models: how much memory they take, how long they load, and what was not enough."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection
from dataclasses import replace

from engine_worker.host.memory.gpus import Gpus
from engine_worker.host.memory.shortage import OomKills
from engine_worker.host.models.base import StoredModel
from engine_worker.host.models.catalog import Catalog, without_tensors
from engine_worker.host.models.records import Shortage
from engine_worker.host.plan import Refuse, State
from engine_worker.host.workers.child import Child
from engine_worker.host.workers.workers import write_state

_log = logging.getLogger("drover.host")
# What was measured is written again when it has grown by so much.
_GROWTH = 1.05
_MIB = 1 << 20


class Learning:
    """`budget_bytes`: of the machine's memory. Children that are passed are all of this host."""

    def __init__(self, catalog: Catalog, budget_bytes: int, gpus: Gpus) -> None:
        self._catalog = catalog
        self._budget_bytes = budget_bytes
        self._gpus = gpus
        self._oom_kills = OomKills()
        self._measured = 0.0
        """When `measure` was called last (time.monotonic)."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def stop(self) -> None:
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def learn(self, child: Child, children: Collection[Child]) -> None:
        """It has become ready."""
        model = child.model
        await child.measure()
        await self._gpus.measure(children)
        known = self._catalog.record(model)
        # What it took at another time counts too: it shares pages with others, and grows as it is used.
        memory_bytes = max(known.memory_bytes, child.measured_bytes)
        gpu_bytes = max(known.gpu_bytes, child.gpu_measured_bytes)
        child.memory_bytes = memory_bytes or child.memory_bytes
        child.gpu_bytes = gpu_bytes or child.gpu_bytes
        card = without_tensors(child.card) if child.card is not None else model.card
        load_ns = child.load_ns if child.process.is_own or not known.load_ns else known.load_ns
        child.load_ns = load_ns
        learned = replace(known, memory_bytes=memory_bytes, gpu_bytes=gpu_bytes, load_ns=load_ns, card=card)
        self._catalog.learn(model, learned)
        await asyncio.to_thread(self._catalog.keep, model)
        try:
            await write_state(child)
        except OSError as error:
            # It may have ended meanwhile.
            _log.debug("the state of a worker was not written: %s", error)

    async def measure(self, children: Collection[Child]) -> bool:
        """What they take grows as they are used. Returns whether it has, or there is less for them."""
        self._oom_kills.look()
        has_changed = await self._gpus.measure(children)
        since, self._measured = self._measured, time.monotonic()
        for child in children:
            # An idle one does not grow, and the machine may have thousands of processes to look through.
            if child.state is State.READY and child.is_learned and child.last_used >= since:
                has_changed |= await child.measure()
                await self._learn_growth(child, children)
        return has_changed

    async def _learn_growth(self, child: Child, children: Collection[Child]) -> None:
        """Its next load counts for as much, as far as that fits: what has run is not refused."""
        known, others = self._catalog.record(child.model), [each for each in children if each is not child]
        memory_bytes = min(child.measured_bytes, self._available(others))
        gpu_bytes = min(child.gpu_measured_bytes, self._gpus.available(others, len(child.place.gpus)))
        # Small steps are not worth a write.
        if memory_bytes > known.memory_bytes * _GROWTH or gpu_bytes > known.gpu_bytes * _GROWTH:
            grown = replace(
                known,
                memory_bytes=max(memory_bytes, known.memory_bytes),
                gpu_bytes=max(gpu_bytes, known.gpu_bytes),
            )
            self._catalog.learn(child.model, grown)
            await asyncio.to_thread(self._catalog.keep, child.model)

    def learn_shortage(self, child: Child, reason: str, others: Collection[Child]) -> tuple[str, bool] | None:
        """Of a worker that ended for lack of memory: the reason with the numbers, and whether it can get more
        here. Each load gets more, so they are few. None for another reason.
        """
        was_killed = self._oom_kills.was_killed(reason)
        if not was_killed and not self._oom_kills.is_in_words(reason):
            return None
        expected = self._catalog.expected(child.model)
        is_of_gpu = bool(child.place.gpus) and not was_killed
        if is_of_gpu:
            available = self._gpus.available(others, len(child.place.gpus))
            room = max(self._gpus.room(others, child.place.gpus), child.gpu_bytes)
            what, took, wanted = "of each GPU's memory", child.gpu_measured_bytes, expected.gpu_bytes
        else:
            available = self._available(others)
            room = max(self._budget_bytes - sum(each.memory_bytes for each in others), child.memory_bytes)
            what, took, wanted = "of memory", child.measured_bytes, expected.memory_bytes
        if child.since:
            # It has run, so it is not refused.
            room = min(room, available - 1)
        shortage = Shortage(room, time.time(), is_of_gpu)
        self._catalog.learn(child.model, replace(self._catalog.record(child.model), shortage=shortage))
        self._keep(child.model)
        text = (
            f"it ran out of memory: this host had {room // _MIB} MiB {what} for it "
            f"({wanted // _MIB} MiB expected, {took // _MIB} MiB measured at last); {reason}"
        )
        return text, room < available

    def refusal(self, model: StoredModel, refused: Refuse) -> str:
        """Why a model is not loaded, with both numbers."""
        needed, available = refused.size_bytes // _MIB, max(0, refused.available_bytes) // _MIB
        gpus = f"each of {refused.gpus} GPUs'" if refused.gpus > 1 else "a GPU's"
        what = f"of {gpus} memory" if refused.gpus else "of memory"
        shortage = self._catalog.shortage(model)
        is_short = shortage is not None and shortage.is_of_gpu == (refused.gpus > 0)
        needs = (
            f"more than {needed} MiB {what}, which its last load ran out of"
            if is_short
            else f"{needed} MiB {what}"
        )
        return f"model '{model.name.short}' needs {needs}, and this host has {available} MiB for it"

    def _available(self, children: Collection[Child]) -> int:
        """For a model that is not pinned, when all others are evicted."""
        return self._budget_bytes - sum(each.memory_bytes for each in children if each.is_pinned)

    def _keep(self, model: StoredModel) -> None:
        task = asyncio.create_task(asyncio.to_thread(self._catalog.keep, model), name="remember a shortage")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
