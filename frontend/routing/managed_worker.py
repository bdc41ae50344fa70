"""One member of the fleet: a worker, what it serves, what it has to do, whether it can take requests now."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

from drover import logs
from drover.errors import (
    DroverError,
    ProtocolBroken,
    QueueFull,
    RetryElsewhere,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import Abandonable, Worker
from frontend.routing.backends.grpc.call import Call
from frontend.routing.circuit_breaker import Attempt, Breaker
from frontend.routing.served_model import Kind, ServedModel, kind_of, under_each_name
from frontend.routing.stall_detector import Watchdog, answers
from frontend.routing.stalled_requests import lost_worker, stalled_worker, suspects

_log = logging.getLogger("drover.fleet")
_REPORT_INTERVAL_SECONDS = 1.0
# A connection that is gone is noticed by gRPC's pings within 9 s (drover/rpc.py): what is silent for longer
# and still answers them is a process that has stopped.
_SILENCE_SECONDS = 10.0
# What began later than this after the last sign of life did not stop the worker.
_LATE_SECONDS = 2 * _REPORT_INTERVAL_SECONDS
# When a call began that no worker stops at: it loads the model, or unloads it.
_NO_SUSPECT = math.inf
_MOST_LOGGED = 16
# Each report wakes who waits: a worker that sends them without a pause must not keep this process busy.
_LEAST_BETWEEN_REPORTS_SECONDS = 0.01
_CONNECT_SECONDS = 5.0
_RETRY_SECONDS = 0.25
# Of its share, this part more may wait at the worker.
_BACKLOG_SHARE = 8
_PROBE_EVERY_SECONDS = 2.0


Found = TypeVar("Found")


@dataclass(eq=False, slots=True)
class WorkerPermit:
    """One request's place at a worker, from its admission on. Implements stalled_requests.InFlight;
    `saw_stall`: the worker has stopped meanwhile; `is_only_suspect`: and only this request can be the cause.
    """

    member: ManagedWorker
    attempt: Attempt
    handle: Abandonable | None = None
    request: pb.GenerateRequest | None = None
    has_output: bool = False
    stalls: int = 0
    saw_stall: bool = False
    is_only_suspect: bool = False

    def answers(self) -> None:
        """The worker has said something."""
        self.member.answered(self.attempt)

    def broke_protocol(self, error: ProtocolBroken) -> None:
        """The worker has, under this request."""
        self.member.broke_protocol(error, self.request.request_id if self.request else "")

    def leave(self, error: DroverError | None = None) -> None:
        """The place is free again; `error`: what the worker ended it with. Safe to call twice."""
        self.member.left(self, error)


class ManagedWorker:
    """`model`, `served` under each of its names, stays known while the worker is away: requests for it are
    answered "later", not "never". `changed` is called when there may be more room than before,
    `joined` when it has just become ready, `shifted` when it became ready, or not, `updated` when its load,
    its room or its breaker may have changed.

    What a choice among many workers reads of each are plain values, kept true by `_recount`: `load`, own
    requests and others' as they were last reported; `has_room`, whether this frontend may send one more.
    """

    def __init__(
        self,
        worker: Worker,
        changed: Callable[[], None],
        joined: Callable[[ManagedWorker], None],
        stall_seconds: float = 0,
        shifted: Callable[[], None] = lambda: None,
        updated: Callable[[ManagedWorker], None] = lambda _: None,
    ) -> None:
        self.worker = worker
        self.address = worker.address
        self._shifted, self._updated = shifted, updated
        self.kind: Kind | None = None
        self.load = 0.0
        self.waiting_prompt_tokens = 0.0
        self.ready = self.has_room = False
        self._joined = joined
        self._stall_seconds = stall_seconds
        self._watchdog = Watchdog(stall_seconds)
        self._prober: asyncio.Task[None] | None = None
        self.is_stalled = False
        self._changed = changed
        self.model: pb.Model | None = None
        self.served: Sequence[ServedModel] = ()
        self.report: pb.LoadReport | None = None
        self.breaker = Breaker()
        self.reported_at = 0.0
        """Of time.monotonic."""
        # In the order in which they came.
        self._places: dict[WorkerPermit, None] = {}
        self._calls: dict[Call[Any], float] = {}
        self._is_full = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._others = 0
        self._watcher: asyncio.Task[None] | None = None
        self.is_known = asyncio.Event()
        """Whether it is there or not has been found out once."""

    @property
    def requests(self) -> int:
        """Of this frontend, here now."""
        return len(self._places)

    def start(self) -> None:
        self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.address}")
        self._watcher.add_done_callback(report_death)

    async def stop(self) -> None:
        tasks = [task for task in (self._watcher, self._prober) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.worker.close()

    def answered(self, attempt: Attempt) -> None:
        was_failing = self.breaker.is_failing
        self.breaker.succeeded(attempt)
        if was_failing:
            self._updated(self)

    def _recount(self) -> None:
        report, was_ready = self.report, self.ready
        self.load = len(self._places) + self._others
        self.waiting_prompt_tokens = report.waiting_prompt_tokens if report else 0
        self.ready = report is not None and not report.draining and not self.is_stalled
        self.has_room = report is not None and not self._is_full and len(self._places) < _share(report)
        if self.ready != was_ready:
            self._shifted()
        else:
            self._updated(self)

    def take(self) -> WorkerPermit:
        place = WorkerPermit(self, self.breaker.begin())
        self._places[place] = None
        self._idle.clear()
        self._recount()
        return place

    def left(self, place: WorkerPermit, error: DroverError | None) -> None:
        if place not in self._places:
            return
        del self._places[place]
        # A worker that refuses has less room than it seemed, until another request leaves it or it reports.
        self._is_full = isinstance(error, QueueFull)
        if isinstance(error, RetryElsewhere):
            self.breaker.failed(place.attempt)
        else:
            self.breaker.ended(place.attempt)
        self._recount()
        self._look_idle()
        self._changed()

    def broke_protocol(self, error: ProtocolBroken, request_id: str) -> None:
        """New requests rather go elsewhere for a while. One that floods loses all that it has."""
        logs.event(
            _log,
            logging.ERROR,
            "worker broke the protocol",
            worker=self.address,
            reason=error.message,
            attempt=request_id,
        )
        self.breaker.trip()
        self._updated(self)
        if error.is_flood:
            self._abandon("it sent more than an answer can have")

    async def wait_idle(self) -> None:
        await self._idle.wait()

    async def ask(self, call: Call[Found]) -> Found:
        """`call`: to this worker, no generation, and it takes no place. Raises EngineStalled where the worker
        stops meanwhile.
        """
        try:
            return await self._answered(call, time.monotonic())
        except ProtocolBroken as error:
            self.broke_protocol(error, "")
            raise

    async def bring_in(self, request: pb.LoadRequest) -> None:
        """Loads the model. Whoever then asks what is loaded must not have to wait for the next report. Raises
        WorkerUnreachable where the worker is lost or stops meanwhile.
        """
        response = await self._answered(Call(self.worker.load(request)), _NO_SUSPECT)
        if self.report is not None:
            self.report.loaded = True
            self.report.expires_unix_ns = response.expires_unix_ns

    async def unload(self) -> None:
        """Raises WorkerUnreachable where the worker is lost or stops meanwhile."""
        await self._answered(Call(self.worker.unload()), _NO_SUSPECT)

    async def _answered(self, call: Call[Found], began: float) -> Found:
        """A worker that is found no more is kept until the call is over."""
        self._calls[call] = began
        self._idle.clear()
        try:
            return await call.answer()
        finally:
            del self._calls[call]
            self._look_idle()

    def _look_idle(self) -> None:
        if not (self._places or self._calls):
            self._idle.set()

    async def _watch(self) -> None:
        """Keeps `model` and `report` true, for as long as the frontend lives."""
        while True:
            try:
                await self._follow()
            except WorkerUnreachable as error:
                self._lost(error.message)
                self._abandon(error.message)
            except TimeoutError:
                reason = f"no report for {_SILENCE_SECONDS:.0f} s"
                if self.worker.is_connected and self.report is not None:
                    self._stalled(reason, self.reported_at)
                self._lost(reason)
                self._abandon(reason)
            except ProtocolBroken as error:
                self.broke_protocol(error, "")
                self._lost(error.message)
            except DroverError as error:
                # It speaks, but does not report: what it has may well be answered.
                self._lost(error.message)
            except Exception as error:  # noqa: BLE001 - a watcher that ended would leave it ready for ever
                _log.error("watching %s failed", self.address, exc_info=error)
                self._lost(repr(error))
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow(self) -> None:
        self.model = await self.worker.model(_CONNECT_SECONDS)
        self.served = under_each_name(self.model)
        self.kind = kind_of(self.model)
        self._shifted()
        async with aclosing(self.worker.watch_load(_REPORT_INTERVAL_SECONDS)) as reports:
            while True:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    self._heard(await anext(reports), self.model)
                await asyncio.sleep(_LEAST_BETWEEN_REPORTS_SECONDS)

    def _heard(self, report: pb.LoadReport, model: pb.Model) -> None:
        joins = self.report is None
        self.reported_at = time.monotonic()
        if joins:
            names = list(model.names)
            logs.event(
                _log,
                logging.INFO,
                "worker joined",
                worker=self.address,
                names=names,
                digest=model.digest[:12],
            )
            self.breaker = Breaker()
            self._watchdog = Watchdog(self._stall_seconds)
        self.report = report
        self._is_full = False
        self._others = max(0, report.running + report.waiting - len(self._places))
        self._recount()
        if joins:
            self.is_known.set()
            self._joined(self)
        if self._watchdog.is_stalled(report) and model.capabilities.completion and self._prober is None:
            doubt = self._doubt(self._watchdog.since)
            self._prober = asyncio.create_task(doubt, name=f"probe {self.address}")
            self._prober.add_done_callback(report_death)
        self._changed()

    async def _doubt(self, since: float) -> None:
        """One token is asked for. Only where it does not come either, the worker is taken out, what is there
        goes on elsewhere, and further probes find out when it is alive again.
        """
        try:
            if await answers(self.worker):
                return
            logs.event(
                _log, logging.ERROR, "worker makes no progress", worker=self.address, requests=self.requests
            )
            self.is_stalled = True
            self._recount()
            self._stalled("it makes no progress", since)
            while not await answers(self.worker):  # noqa: ASYNC110 - there is no event but its answer
                await asyncio.sleep(_PROBE_EVERY_SECONDS)
            logs.event(_log, logging.INFO, "worker makes progress again", worker=self.address)
        finally:
            self.is_stalled, self._prober = False, None
            self._watchdog = Watchdog(self._stall_seconds)
            self._recount()
            self._changed()

    def _abandon(self, reason: str) -> None:
        """What is still there will get no answer: it can go on elsewhere at once."""
        handles = [place.handle for place in self._places if place.handle is not None]
        for handle in (*handles, *self._calls):
            handle.abandon(lost_worker(reason))

    def _stalled(self, reason: str, since: float) -> None:
        """It has stopped, and one of its requests may be the cause: suspects end here, the others can go on
        elsewhere. `since`: when it last got on.
        """
        late = since + _LATE_SECONDS
        in_engine = self._begun_by(late)
        found = set(suspects(in_engine))
        calls = [call for call, began in self._calls.items() if began <= late]
        for place in in_engine:
            place.saw_stall = True
            place.is_only_suspect = found == {place} and not calls
        for call in calls:
            call.is_only_suspect = len(calls) == 1 and not found
        logs.event(
            _log,
            logging.ERROR,
            "worker stopped under its requests",
            worker=self.address,
            reason=reason,
            requests=len(in_engine),
            suspects=[place.request.request_id for place in found if place.request][:_MOST_LOGGED],
        )
        for place in list(self._places):
            if place.handle is not None:
                place.handle.abandon(stalled_worker(reason) if place in found else lost_worker(reason))
        for call in list(self._calls):
            call.abandon(stalled_worker(reason) if call in calls else lost_worker(reason))

    def _begun_by(self, late: float) -> Sequence[WorkerPermit]:
        """Those that the engine had then. What it had not begun are the newest of those without output."""
        there = [place for place in self._places if place.attempt.began <= late]
        silent = [place for place in there if not place.has_output]
        waiting = self.report.waiting if self.report else 0
        queued = set(silent[max(0, len(silent) - waiting) :])
        return [place for place in there if place not in queued]

    def _lost(self, reason: str) -> None:
        self.is_known.set()
        if self.report is not None:
            logs.event(
                _log,
                logging.WARNING,
                "worker lost",
                worker=self.address,
                reason=reason,
                requests=len(self._places),
            )
        self.report = None
        self._others = 0
        self._recount()


def _share(report: pb.LoadReport) -> float:
    """The frontend's part of what the worker runs, and a few that wait there, so that a place that gets free
    is not empty for a round trip.
    """
    if not report.running_limit:
        return math.inf
    share = math.ceil(report.running_limit / max(1, report.frontends))
    return share + max(1, share // _BACKLOG_SHARE)


def report_death(watcher: asyncio.Task[None]) -> None:
    """A watcher ends only when it is cancelled; anything else is a defect that must be seen."""
    if not watcher.cancelled() and (error := watcher.exception()) is not None:
        _log.error("%s died", watcher.get_name(), exc_info=error)
