"""Loads and evicts models as plan.py says, whenever something has changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from drover import logs
from drover.concurrency import ChangeSignal
from drover.errors import DroverError, EngineFailed, NoWorkerReady
from drover.v1 import host_pb2
from engine_worker.host.learning import Learning
from engine_worker.host.memory.base import NoGpus
from engine_worker.host.memory.gpus import Gpus
from engine_worker.host.metrics import BUDGET, LOADED, MEMORY, MODELS, WAITING, Gauges, HostCounts
from engine_worker.host.models.base import StoredModel
from engine_worker.host.models.catalog import Catalog
from engine_worker.host.plan import Demand, Drain, Load, Refuse, State, next_eviction, plan
from engine_worker.host.workers.child import Child
from engine_worker.host.workers.workers import Workers

_log = logging.getLogger("drover.host")
_MEASURE_SECONDS = 5.0
# After a worker ended by itself; doubled each time, up to the second.
_FIRST_PAUSE_SECONDS, _LAST_PAUSE_SECONDS = 1.0, 60.0
# A worker that served for so long is not one that fails at once; nor is a load so long after the last pause.
_SOUND_SECONDS = 60.0
_MIB = 1 << 20

Waiting = Mapping[str, Demand]
"""What one caller's requests wait for, by the models' keys."""
OnFailure = Callable[[StoredModel, DroverError], None]


@dataclass(slots=True)
class _Pause:
    """A model whose worker failed is not started again before `until`."""

    seconds: float = 0.0
    until: float = 0.0
    error: DroverError | None = None


@dataclass(eq=False, slots=True)
class Caller:
    """A frontend, as far as this host knows it. `on_failure` is called for each load that failed."""

    on_failure: OnFailure
    waiting: Waiting = field(default_factory=dict)


class Pool:
    """The models in memory. One task makes all changes. `workers` is set before `start`."""

    def __init__(
        self,
        catalog: Catalog,
        budget_bytes: int,
        min_residency_seconds: float,
        replica_seconds: float,
        gpus: Gpus | None = None,
    ) -> None:
        self.catalog = catalog
        self.counts = HostCounts()
        self.budget_bytes = budget_bytes
        self.workers: Workers
        self.changed = ChangeSignal()
        self.children: dict[str, Child] = {}
        """By the models' keys."""
        self._min_residency_seconds = min_residency_seconds
        self._replica_seconds = replica_seconds
        self._callers: set[Caller] = set()
        self._pauses: dict[str, _Pause] = {}
        self._evicted: dict[str, float] = {}
        """When models made room that have not been loaded again since (time.monotonic)."""
        self._refused: dict[str, Refuse] = {}
        """What was logged."""
        self._gpus = gpus or Gpus(NoGpus(), 0)
        self._learning = Learning(catalog, budget_bytes, self._gpus)
        self._is_draining = False
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._spawned: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        for child in self.workers.find_running(self.catalog.with_key):
            self.children[child.model.key] = child
        for work, name in ((self._run(), "load and evict models"), (self._measure(), "measure memory")):
            self._tasks.append(asyncio.create_task(work, name=name))

    async def drain(self) -> None:
        """Load nothing more, let all requests end within their bound, and end the workers."""
        self._is_draining = True
        for child in list(self.children.values()):
            child.drain()
        while self.children:
            changed = self.changed.next_change
            if self.children:
                await changed.wait()

    async def stop(self) -> None:
        """Workers go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._spawned, return_exceptions=True)
        await self._learning.stop()
        await asyncio.gather(*(child.stop_watching() for child in self.children.values()))

    @property
    def used_bytes(self) -> int:
        return sum(child.memory_bytes for child in self.children.values())

    @property
    def gpu_states(self) -> Sequence[host_pb2.Gpu]:
        return [
            host_pb2.Gpu(id=each.id, budget_bytes=each.budget_bytes, used_bytes=self._used_of(each.id))
            for each in self._gpus.budgets
        ]

    def _used_of(self, gpu: str) -> int:
        return sum(child.gpu_bytes for child in self.children.values() if gpu in child.place.gpus)

    def gauges(self) -> Gauges:
        return {
            MODELS: len(self.catalog.models),
            LOADED: len(self.children),
            WAITING: len(self.turns),
            MEMORY: self.used_bytes,
            BUDGET: self.budget_bytes,
        }

    @property
    def turns(self) -> Sequence[str]:
        """Keys of the models that are waited for and not in memory, the longest waiting first."""
        demands = sorted(self._demands().values(), key=lambda each: each.since)
        return [each.model for each in demands if each.model not in self.children]

    def add_caller(self, on_failure: OnFailure) -> Caller:
        caller = Caller(on_failure)
        self._callers.add(caller)
        return caller

    def remove_caller(self, caller: Caller) -> None:
        self._callers.discard(caller)
        self.notify()

    def set_waiting(self, caller: Caller, waiting: Waiting) -> None:
        """Models that this host does not have, or that none can serve, do not count."""
        caller.waiting = waiting
        self.notify()

    def keep_replicas(self, keys: Iterable[str]) -> None:
        """They are no second replicas any more: no other host has a first one of the model."""
        for key in keys:
            if (child := self.children.get(key)) is not None:
                child.place = replace(child.place, is_extra=False)

    def release(self, model: StoredModel) -> bool:
        """Drain a model. False if it is not in memory."""
        child = self.children.get(model.key)
        if child is None:
            return False
        child.drain()
        return True

    async def refresh(self) -> None:
        """Read what has changed in the store, and drain the models that it does not have any more, also those
        that were made anew.
        """
        await asyncio.to_thread(self.catalog.refresh)
        for child in list(self.children.values()):
            if self.catalog.with_key(child.model.key) is None:
                child.drain()
        for known in (self._pauses, self._evicted, self._refused):
            for key in [key for key in known if self.catalog.with_key(key) is None]:
                del known[key]
        self.notify()

    def notify(self) -> None:
        """Something has changed that the plan depends on."""
        self._wake.set()
        self.changed.notify()

    def on_child_changed(self) -> None:
        for child in self.children.values():
            if child.state is State.READY and child.load_ns and not child.is_learned:
                child.is_learned = True
                if child.process.is_own:
                    self._on_loaded(child)
                self._spawn(self._learn(child), f"remember {child.model.name.short}")
        self.notify()

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)

    def _on_loaded(self, child: Child) -> None:
        seconds = child.load_ns / 1e9
        self.counts.load_seconds.observe(seconds)
        logs.event(
            _log, logging.INFO, "loaded a model", model=child.model.name.short, seconds=round(seconds, 2)
        )

    def on_child_used(self) -> None:
        """Frontends see it a moment later: it may come with each request."""
        self._wake.set()

    def on_child_ended(self, child: Child, reason: str) -> None:
        self.workers.forget(child)
        if self.children.get(child.model.key) is child:
            del self.children[child.model.key]
        if reason:
            self._pause_after(child, reason)
        self.notify()

    def _pause_after(self, child: Child, reason: str) -> None:
        model, now = child.model, time.monotonic()
        was_ready = child.since > 0
        pause = self._pauses.setdefault(model.key, _Pause())
        sound_seconds = now - child.since if was_ready else child.began - pause.until
        is_first = sound_seconds > _SOUND_SECONDS or not pause.seconds
        pause.seconds = _FIRST_PAUSE_SECONDS if is_first else min(2 * pause.seconds, _LAST_PAUSE_SECONDS)
        pause.until = now + pause.seconds
        # The requests of a worker that served wait for the next one; a load that failed may fail for ever.
        may_pass = was_ready or (is_first and child.process.was_killed)
        if shortage := self._learning.learn_shortage(child, reason, self.children.values()):
            reason, has_more = shortage
            may_pass = was_ready or has_more
        what = "a worker ended" if was_ready else "a load failed"
        self.counts.failures.labels("serve" if was_ready else "load").inc()
        logs.event(
            _log, logging.ERROR, what, model=model.name.short, reason=reason, pause_seconds=pause.seconds
        )
        pause.error = (
            None if may_pass else EngineFailed(f"model '{model.name.short}' cannot be loaded: {reason}")
        )
        if pause.error is not None:
            self._fail(model, pause.error)
        if not was_ready and is_first and not child.process.was_killed:
            self._spawn(self._check_contents(model), f"check the files of {model.name.short}")

    async def _check_contents(self, model: StoredModel) -> None:
        """A load that failed may have read a damaged file: then the model is not listed any more."""
        if await asyncio.to_thread(self.catalog.remove_damaged, model):
            await self.refresh()

    def _fail(self, model: StoredModel, error: DroverError) -> None:
        for caller in self._callers:
            if model.key in caller.waiting:
                caller.on_failure(model, error)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            try:
                due = self._step()
            except Exception:  # noqa: BLE001 - a defect that one model meets must not end all loading
                _log.exception("unhandled exception in a decision over models")
                due = time.monotonic() + _FIRST_PAUSE_SECONDS
            try:
                async with asyncio.timeout(None if due is None else max(0.0, due - time.monotonic())):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _step(self) -> float | None:
        """Act on what the plan says. Returns when to look again (time.monotonic); None: on a change."""
        if self._is_draining:
            return None
        now, demands = time.monotonic(), self._demands()
        for key, child in self.children.items():
            child.set_awaited(key in demands, now)
        residents = [child.resident() for child in self.children.values()]
        able = [each for each in demands.values() if self._may_load(each, now)]
        gpus = self._gpus.budgets
        for action in plan(now, self.budget_bytes, self._min_residency_seconds, residents, able, gpus):
            match action:
                case Load(key, chosen):
                    self._load(key, demands[key], chosen)
                case Drain(key, is_busy):
                    child = self.children[key]
                    logs.event(
                        _log, logging.INFO, "evicting a model", model=child.model.name.short, busy=is_busy
                    )
                    self.counts.evictions.inc()
                    self._evicted[key] = now
                    child.drain()
                case Refuse():
                    self._refuse(action)
        times = [pause.until for key, pause in self._pauses.items() if key in demands and pause.until > now]
        due = next_eviction(now, self.budget_bytes, self._min_residency_seconds, residents, able, gpus)
        if able and due is not None:
            times.append(due)
        return min(times, default=None)

    def _may_load(self, demand: Demand, now: float) -> bool:
        pause = self._pauses.get(demand.model)
        if pause is None or now >= pause.until:
            return True
        model = self.catalog.with_key(demand.model)
        if pause.error is not None and model is not None:
            self._fail(model, pause.error)
        return False

    def _load(self, key: str, demand: Demand, gpus: tuple[str, ...]) -> None:
        model = self.catalog.with_key(key)
        if model is None:
            return
        self._evicted.pop(key, None)
        needs, placement = self.catalog.needs(model), self._gpus.place(gpus)
        logs.event(
            _log,
            logging.INFO,
            "loading a model",
            model=model.name.short,
            mib=needs.memory_bytes // _MIB,
            gpus=list(gpus),
            gpu_mib=needs.gpu_bytes // _MIB,
        )
        try:
            self.catalog.check_files(model)
            self.children[key] = self.workers.start(model, needs, placement, demand.is_extra, model.is_pinned)
        except (OSError, ValueError) as error:
            self._pauses[key] = _Pause(_FIRST_PAUSE_SECONDS, time.monotonic() + _FIRST_PAUSE_SECONDS)
            logs.event(_log, logging.ERROR, "a load failed", model=model.name.short, reason=str(error))
            self._fail(model, EngineFailed(f"model '{model.name.short}' cannot be loaded: {error}"))
            # A model whose files are damaged is not listed any more.
            self._spawn(self.refresh(), "read the store again")
        self.changed.notify()

    def _refuse(self, refused: Refuse) -> None:
        model = self.catalog.with_key(refused.model)
        if model is None:
            return
        error = self._learning.refusal(model, refused)
        if self._refused.get(model.key) != refused:
            self._refused[model.key] = refused
            logs.event(_log, logging.WARNING, "a model is not loaded", model=model.name.short, reason=error)
        self._fail(model, NoWorkerReady(error))

    def _demands(self) -> Mapping[str, Demand]:
        """Of all callers together: the longest waiting counts, and an ordinary one before an extra one.

        A model that made room has had its turn: what waits for it counts from then on, or it would get its
        own memory back before the model that it made room for.
        """
        merged = {model.key: self._sized(model, Demand(model.key, 0, 0.0)) for model in self.catalog.pinned}
        for caller in self._callers:
            for key, demand in caller.waiting.items():
                model = self.catalog.with_key(key)
                if model is None or model.unusable:
                    continue
                known = merged.get(key, demand)
                merged[key] = replace(
                    self._sized(model, demand),
                    since=max(min(known.since, demand.since), self._evicted.get(key, 0.0)),
                    is_extra=known.is_extra and demand.is_extra,
                )
        return merged

    def _sized(self, model: StoredModel, demand: Demand) -> Demand:
        needs = self.catalog.needs(model)
        return replace(demand, size_bytes=needs.memory_bytes, gpus=needs.gpus, gpu_bytes=needs.gpu_bytes)

    async def _learn(self, child: Child) -> None:
        await self._learning.learn(child, list(self.children.values()))
        self.notify()

    def _end_unneeded_replicas(self) -> None:
        """A second replica that was not full for a while goes."""
        now = time.monotonic()
        for child in list(self.children.values()):
            unneeded = now - max(child.since, child.last_full)
            if child.place.is_extra and child.state is State.READY and unneeded > self._replica_seconds:
                logs.event(_log, logging.INFO, "ending a second replica", model=child.model.name.short)
                child.drain()

    async def _measure(self) -> None:
        """What a model takes grows as it is used, and so does its worker's log."""
        while True:
            await asyncio.sleep(_MEASURE_SECONDS)
            try:
                await self._measure_once()
            except Exception:  # noqa: BLE001 - a defect that one model meets must not end all measuring
                _log.exception("unhandled exception in a measurement of memory")

    async def _measure_once(self) -> None:
        self._end_unneeded_replicas()
        for child in list(self.children.values()):
            await asyncio.to_thread(child.place.shorten_log)
        if await self._learning.measure(list(self.children.values())):
            self.notify()
