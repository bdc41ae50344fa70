"""A worker of the fleet: what it serves, its load, and whether it takes requests now."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol, TypeVar

from drover import logs
from drover.errors import (
    AdapterMissing,
    DroverError,
    ProtocolBroken,
    QueueFull,
    RetryElsewhere,
    WorkerDraining,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import Worker
from frontend.routing.backends.unary_call import UnaryCall
from frontend.routing.capacity import CapacityTracker, WorkerPermit
from frontend.routing.circuit_breaker import Attempt, CircuitBreaker
from frontend.routing.policies.least_load import TOKENS_PER_REQUEST
from frontend.routing.served_model import Kind, ServedModel, kind_of, under_each_name
from frontend.routing.stall_detector import StallDetector, is_responsive

_log = logging.getLogger("drover.fleet")
_REPORT_INTERVAL_SECONDS = 1.0
# gRPC's pings notice a dead connection within 9 s (drover/rpc.py): a worker that sends no report for longer
# and still answers pings is a process that has stopped.
_SILENCE_SECONDS = 10.0
# Requests that began later than this after the last sign of progress are not suspected of the stall.
_LATE_SECONDS = 2 * _REPORT_INTERVAL_SECONDS
# Start time of calls under which no worker stalls: they load the model, or unload it.
_NEVER_SUSPECT = math.inf
_MAX_LOGGED = 16
_MAX_REASONS = 8
# Each report dispatches queued requests: a worker that sends them without a pause must not keep this process
# busy.
_MIN_SECONDS_BETWEEN_REPORTS = 0.01
_CONNECT_SECONDS = 5.0
_RETRY_SECONDS = 0.25
_PROBE_INTERVAL_SECONDS = 2.0

Response = TypeVar("Response")


class WorkerListener(Protocol):
    """Is called when a worker changes."""

    def on_join(self, worker: ManagedWorker) -> None:
        """It has sent its first report since it was lost, or at all."""

    def on_availability(self, worker: ManagedWorker) -> None:
        """It has become ready, or is not ready any more, or serves another model."""

    def on_load(self, worker: ManagedWorker) -> None:
        """Its load, its room or its circuit breaker may have changed."""

    def on_capacity(self, worker: ManagedWorker) -> None:
        """It may have more room than before."""


class ManagedWorker:
    """A worker, watched for as long as the frontend lives.

    `model` and `served` stay known while it is away: requests for its model are answered "retry later", not
    "not found". `stall_seconds`: see stall_detector.py.

    What a selection among many workers reads of each are plain attributes, kept up to date by `_refresh`:
    `ready`, `load` (requests of this frontend, and those of others as of the last report; a long prompt that
    is not computed yet counts as many), `waiting_prompt_tokens`, `has_room` (whether this frontend may send
    one more), and of this frontend's long prompts there `long_requests` and `long_tokens`,
    and of those that are not computed yet `long_prefills` and `long_prefill_tokens`.
    """

    def __init__(self, backend: Worker, listener: WorkerListener, stall_seconds: float = 0) -> None:
        self.backend = backend
        self.address = backend.address
        self.kind: Kind | None = None
        self.load = 0.0
        self.waiting_prompt_tokens = 0.0
        self.long_requests = self.long_prefills = 0
        self.long_tokens = self.long_prefill_tokens = 0.0
        self.ready = self.has_room = False
        self.model: pb.Model | None = None
        self.served: Sequence[ServedModel] = ()
        self.report: pb.LoadReport | None = None
        self.reported_at = 0.0
        """When the last report came (time.monotonic)."""
        self.breaker = CircuitBreaker()
        self.is_stalled = False
        self.is_known = asyncio.Event()
        """Set once the worker has answered or failed for the first time."""
        self._reasons: set[str] = set()
        """Why it could not be reached, since it was there last; each is logged once."""
        self._listener = listener
        self._capacity = CapacityTracker()
        self._stall_seconds = stall_seconds
        self._stall_detector = StallDetector(stall_seconds)
        self._watch_task: asyncio.Task[None] | None = None
        self._probe_task: asyncio.Task[None] | None = None

    @property
    def requests(self) -> int:
        """Requests of this frontend there now."""
        return len(self._capacity)

    def start(self) -> None:
        self._watch_task = asyncio.create_task(self._watch(), name=f"watch {self.address}")
        self._watch_task.add_done_callback(log_task_failure)

    async def stop(self) -> None:
        tasks = [task for task in (self._watch_task, self._probe_task) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.backend.close()

    async def wait_idle(self) -> None:
        """Until neither requests nor calls are in flight there."""
        await self._capacity.wait_idle()

    # Permits

    def grant(self, long_tokens: float = 0.0) -> WorkerPermit:
        """A permit for one attempt of a request. Its owner releases it. `long_tokens`: of a long prompt."""
        permit = WorkerPermit(self, self.breaker.begin(), long_tokens)
        self._capacity.add(permit)
        self._refresh()
        return permit

    def release(self, permit: WorkerPermit, error: DroverError | None) -> None:
        if not self._capacity.remove(permit, is_full=isinstance(error, QueueFull)):
            return
        if isinstance(error, WorkerDraining) and self.report is not None:
            # Its next report says so too: until then all attempts of a request could be spent on it.
            report = pb.LoadReport()
            report.CopyFrom(self.report)
            report.draining = True
            self.report = report
        # A worker without the adapter of one request serves all others.
        if isinstance(error, RetryElsewhere) and not isinstance(error, AdapterMissing):
            self.breaker.failed(permit.attempt)
        else:
            self.breaker.ended(permit.attempt)
        self._refresh()
        self._listener.on_capacity(self)

    def prefilled(self, permit: WorkerPermit) -> None:
        """A long prompt is computed: there may be room for another one."""
        self._capacity.prefilled(permit)
        self._refresh()
        self._listener.on_capacity(self)

    def record_success(self, attempt: Attempt) -> None:
        was_failing = self.breaker.is_failing
        self.breaker.succeeded(attempt)
        if was_failing:
            self._listener.on_load(self)

    def record_violation(self, error: ProtocolBroken, request_id: str) -> None:
        """Open the breaker, so that new requests avoid the worker for a while. One that floods loses all that
        it has in flight.
        """
        logs.event(
            _log,
            logging.ERROR,
            "worker broke the protocol",
            worker=self.address,
            reason=error.message,
            attempt=request_id,
        )
        self.breaker.trip()
        self._listener.on_load(self)
        if error.is_flood:
            self._capacity.abandon_all("it sent more than a response can have")

    # Calls

    async def call(self, call: UnaryCall[Response]) -> Response:
        """Wait for a call to this worker that needs no permit. Raises EngineStalled if the worker stalls
        meanwhile.
        """
        try:
            return await self._capacity.track(call, time.monotonic())
        except ProtocolBroken as error:
            self.record_violation(error, "")
            raise

    async def load_model(self, request: pb.LoadRequest) -> None:
        """Load the model. The list of loaded models has it at once, not only after the next report.

        Raises WorkerUnreachable if the worker is lost or stalls meanwhile.
        """
        response = await self._capacity.track(UnaryCall(self.backend.load(request)), _NEVER_SUSPECT)
        if self.report is not None:
            self.report.loaded = True
            self.report.expires_unix_ns = response.expires_unix_ns

    async def unload_model(self) -> None:
        """Raises WorkerUnreachable if the worker is lost or stalls meanwhile."""
        await self._capacity.track(UnaryCall(self.backend.unload()), _NEVER_SUSPECT)

    # Reports

    async def _watch(self) -> None:
        """Keep `model` and `report` up to date."""
        while True:
            try:
                await self._follow_reports()
            except WorkerUnreachable as error:
                self._mark_down(error.message)
                self._capacity.abandon_all(error.message)
            except TimeoutError:
                reason = f"no report for {_SILENCE_SECONDS:.0f} s"
                if self.backend.is_connected and self.report is not None:
                    self._on_stall(reason, self.reported_at)
                self._mark_down(reason)
                self._capacity.abandon_all(reason)
            except ProtocolBroken as error:
                self.record_violation(error, "")
                self._mark_down(error.message)
            except DroverError as error:
                # RPCs work but WatchLoad failed: keep in-flight requests.
                self._mark_down(error.message, isinstance(error, WorkerDraining))
            except Exception as error:  # noqa: BLE001 - if the task ended, the worker would stay ready for ever
                _log.error("watching %s failed", self.address, exc_info=error)
                self._mark_down(repr(error))
            await asyncio.sleep(_RETRY_SECONDS)

    async def _follow_reports(self) -> None:
        self.model = await self.backend.model(_CONNECT_SECONDS)
        self.served = under_each_name(self.model)
        self.kind = kind_of(self.model)
        self._listener.on_availability(self)
        async with aclosing(self.backend.watch_load(_REPORT_INTERVAL_SECONDS)) as reports:
            while True:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    self._on_report(await anext(reports), self.model)
                await asyncio.sleep(_MIN_SECONDS_BETWEEN_REPORTS)

    def _on_report(self, report: pb.LoadReport, model: pb.Model) -> None:
        joins = self.report is None
        self.reported_at = time.monotonic()
        if joins:
            self._reasons.clear()
            names = list(model.names)
            logs.event(
                _log,
                logging.INFO,
                "worker joined",
                worker=self.address,
                names=names,
                digest=model.digest[:12],
            )
            self.breaker = CircuitBreaker()
            self._stall_detector = StallDetector(self._stall_seconds)
        self.report = report
        self._capacity.on_report(report)
        self._refresh()
        if joins:
            self.is_known.set()
            self._listener.on_join(self)
        if self._stall_detector.is_stalled(report) and model.capabilities.completion:
            self._start_probe()
        self._listener.on_capacity(self)

    def _mark_down(self, reason: str, is_drained: bool = False) -> None:
        """`is_drained`: the worker said that it ends."""
        self.is_known.set()
        if self.report is not None:
            is_routine = is_drained and not self.requests
            logs.event(
                _log,
                logging.INFO if is_routine else logging.WARNING,
                "worker left" if is_routine else "worker lost",
                worker=self.address,
                reason=reason,
                requests=self.requests,
            )
        elif reason not in self._reasons and len(self._reasons) < _MAX_REASONS:
            logs.event(_log, logging.INFO, "worker cannot be reached", worker=self.address, reason=reason)
        if len(self._reasons) < _MAX_REASONS:
            self._reasons.add(reason)
        self.report = None
        self._capacity.on_lost()
        self._refresh()

    def _refresh(self) -> None:
        report, was_ready = self.report, self.ready
        self.load = self._capacity.load + self._capacity.long_prefill_tokens / TOKENS_PER_REQUEST
        self.long_requests = self._capacity.long_requests
        self.long_tokens = self._capacity.long_tokens
        self.long_prefills = self._capacity.long_prefills
        self.long_prefill_tokens = self._capacity.long_prefill_tokens
        self.waiting_prompt_tokens = report.waiting_prompt_tokens if report else 0
        self.ready = report is not None and not report.draining and not self.is_stalled
        self.has_room = report is not None and self._capacity.has_room(report)
        if self.ready != was_ready:
            self._listener.on_availability(self)
        else:
            self._listener.on_load(self)

    # Stalls

    def _start_probe(self) -> None:
        if self._probe_task is None:
            probing = self._probe_stall(self._stall_detector.since)
            self._probe_task = asyncio.create_task(probing, name=f"probe {self.address}")
            self._probe_task.add_done_callback(log_task_failure)

    async def _probe_stall(self, since: float) -> None:
        """Confirm a suspected stall by a request for one token. If that fails too, take the worker out of
        rotation, fail its requests over, and probe until it responds again.
        """
        try:
            if await is_responsive(self.backend):
                return
            logs.event(
                _log, logging.ERROR, "worker makes no progress", worker=self.address, requests=self.requests
            )
            self.is_stalled = True
            self._refresh()
            self._on_stall("it makes no progress", since)
            while not await is_responsive(self.backend):  # noqa: ASYNC110 - only its answer is an event
                await asyncio.sleep(_PROBE_INTERVAL_SECONDS)
            logs.event(_log, logging.INFO, "worker makes progress again", worker=self.address)
        finally:
            self.is_stalled, self._probe_task = False, None
            self._stall_detector = StallDetector(self._stall_seconds)
            self._refresh()
            self._listener.on_capacity(self)

    def _on_stall(self, reason: str, since: float) -> None:
        """End what is in flight. `since`: when the worker made progress last (time.monotonic)."""
        queued = self.report.waiting if self.report else 0
        stall = self._capacity.abandon_after_stall(reason, since + _LATE_SECONDS, queued)
        logs.event(
            _log,
            logging.ERROR,
            "worker stopped under its requests",
            worker=self.address,
            reason=reason,
            requests=stall.requests,
            suspects=list(stall.suspects[:_MAX_LOGGED]),
        )


def log_task_failure(task: asyncio.Task[None]) -> None:
    """Done callback: background tasks end only when they are cancelled, anything else is a defect."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("%s died", task.get_name(), exc_info=error)
