"""Responses that run in the background: each has a task here and a row in the database.

The row is written before the task begins. While it runs, its status, its events and a lease are written every
second. A row that is gone or has ended was deleted or cancelled, perhaps through another frontend.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import Message, Scope

from drover import logs
from drover.errors import DroverError, InvalidRequest, QueueFull, StoreUnavailable, WorkerDraining
from frontend.api.core.go_json import dumps
from frontend.api.openai.responses.event_log import EventLog
from frontend.api.openai.responses.stored_encode import BackgroundEncoder
from frontend.api.response import EngineResponse
from frontend.middleware.held_bodies import HeldBody
from frontend.middleware.request_log import log_request
from frontend.models.running_responses import Progress, RunningResponses
from frontend.models.stored_responses import StoredResponse, StoredResponses
from frontend.observability.request_record import RequestRecord, record_of

_log = logging.getLogger("drover.frontend")
_RENEW_SECONDS = 1.0
_SWEEP_SECONDS = 600.0
# For the ends of aborted responses to be written.
_STOP_SECONDS = 5.0
# The label `route` of the metrics.
_ROUTE = "background"
_CANCELLED = "cancelled"

Finished = Callable[[RequestRecord, str], None]


@dataclass(slots=True, eq=False)
class BackgroundRun:
    """One response. `streamed`: clients may read its events; else only their number is kept. `held`: what its
    input takes of the limit of all bodies.
    """

    row: StoredResponse
    encoder: BackgroundEncoder
    streamed: bool
    max_bytes: int
    held: HeldBody
    log: EventLog = field(default_factory=EventLog)
    status: str = "queued"
    is_cancelled: bool = False
    task: asyncio.Task[None] | None = None
    _bytes: int = 0
    _stored_events: int = 0

    @property
    def is_ended(self) -> bool:
        return self.log.is_ended

    @property
    def document(self) -> bytes:
        """The response object as it is now."""
        return self.encoder.document if self.is_ended else dumps(self.encoder.snapshot(self.status))

    @property
    def cancelled_document(self) -> bytes:
        """The response object if it is cancelled now."""
        return dumps(self.encoder.snapshot_of_cancelled())

    async def send(self, message: Message) -> None:
        """The ASGI send of the response: keeps its events. Raises InvalidRequest for too many bytes, once:
        the event with that error is kept.
        """
        data: bytes = message.get("body", b"")
        if not data:
            return
        self.status = "in_progress"
        had_room = self._bytes <= self.max_bytes
        # What is stored: a token's event takes fifty times the bytes of its text.
        self._bytes = self._bytes + len(data) if self.streamed else self.encoder.text_bytes
        if had_room and self._bytes > self.max_bytes:
            raise InvalidRequest(
                f"the response is longer than {self.max_bytes} bytes, the limit of stored ones"
            )
        if self.streamed:
            self.log.append(data)

    def progress(self) -> Progress:
        """What has to be written."""
        return Progress(self.row.id, self.status, self._stored_events, self.log.since(self._stored_events))

    def wrote(self, events: int) -> None:
        self._stored_events = events

    def cancel(self) -> None:
        self.is_cancelled = True
        if self.task is not None:
            self.task.cancel()

    def end(self, last: bytes = b"") -> None:
        """`last`: the last event, if the response has not sent it."""
        if last and self.streamed:
            self.log.append(last)
        self.log.end()


class BackgroundResponses:
    """The responses that this frontend runs, at most `max_running`."""

    def __init__(
        self,
        stored: StoredResponses,
        running: RunningResponses,
        max_running: int,
        grace_seconds: float,
        finished: Finished,
    ) -> None:
        self._stored = stored
        self._running = running
        self._max_running = max_running
        self._grace_seconds = grace_seconds
        self._finished = finished
        self._runs: dict[str, BackgroundRun] = {}
        self._writing = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._keeper = asyncio.create_task(self._keep(), name="keep background responses")

    async def stop(self) -> None:
        """Wait for the responses until the drain timeout, then end them as failed."""
        tasks = [run.task for run in self._runs.values() if run.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=self._grace_seconds)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper}, timeout=_STOP_SECONDS)

    def get(self, response_id: str, owner: str) -> BackgroundRun | None:
        """The owner's response, if it runs here. None for one that was cancelled: its row has the end."""
        run = self._runs.get(response_id)
        return run if run is not None and run.row.owner == owner and not run.is_cancelled else None

    async def begin(self, run: BackgroundRun, response: EngineResponse, scope: Scope) -> None:
        """Store the response and start it. Raises QueueFull and StoreUnavailable."""
        self._check_room(run.row.owner)
        self._runs[run.row.id] = run
        try:
            await self._stored.put(run.row, run.log.since(0))
        except BaseException:
            del self._runs[run.row.id]
            raise
        run.wrote(len(run.log))
        run.held = run.held.move()
        run.task = asyncio.create_task(self._run(run, response, scope), name=f"background {run.row.id}")
        record = record_of(scope)
        # Also of a task that is cancelled before it runs.
        run.task.add_done_callback(lambda _: record.end_admission())

    def _check_room(self, owner: str) -> None:
        """Raises QueueFull. One owner has half of the places, so that others find one."""
        if len(self._runs) >= self._max_running:
            raise QueueFull(
                "server busy, please try again.  there are as many background responses as this server runs: "
                f"{self._max_running}"
            )
        most = max(1, self._max_running // 2)
        if sum(run.row.owner == owner for run in self._runs.values()) >= most:
            raise QueueFull(
                "server busy, please try again.  there are as many background responses of your key or "
                f"address as this server runs: {most}"
            )

    async def _run(self, run: BackgroundRun, response: EngineResponse, scope: Scope) -> None:
        record = record_of(scope)
        try:
            await response(scope, _receive_nothing, run.send)
            run.end()
        except asyncio.CancelledError:
            run.end(self._aborted(run, record))
        finally:
            run.held.release()
            log_request(record, scope)
            self._finished(record, _ROUTE)
        await self._write_end(run)

    def _aborted(self, run: BackgroundRun, record: RequestRecord) -> bytes:
        """The last event of a response that was cancelled, or did not end before the drain timeout."""
        if run.is_cancelled:
            record.abort_cause = _CANCELLED
            record.fields[_CANCELLED] = True
            return run.encoder.cancelled()
        drained = WorkerDraining("the server is shutting down: drain timeout reached")
        record.record_error(drained)
        return run.encoder.error_line(drained)

    async def _write_end(self, run: BackgroundRun) -> None:
        """Try again with the next renewal where the database is unavailable."""
        run.status = run.encoder.status
        try:
            async with self._writing:
                await self._running.end(run.progress(), run.document)
        except StoreUnavailable as error:
            _log_unavailable(error)
            return
        self._runs.pop(run.row.id, None)

    async def _keep(self) -> None:
        swept = time.monotonic()
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            try:
                if self._runs:
                    await self._renew()
                if time.monotonic() - swept > _SWEEP_SECONDS:
                    swept = time.monotonic()
                    await self._stored.delete_expired()
            except DroverError as error:
                _log_unavailable(error)

    async def _renew(self) -> None:
        async with self._writing:
            runs = [run for run in self._runs.values() if run.task is not None and not run.is_ended]
            written = [(run, run.progress(), len(run.log)) for run in runs]
            running = await self._running.renew([progress for _, progress, _ in written])
            for run, _, events in written:
                if run.row.id in running:
                    run.wrote(events)
                elif not run.is_ended:
                    run.cancel()
        for run in [*self._runs.values()]:
            if run.task is not None and run.task.done():
                await self._write_end(run)


async def _receive_nothing() -> Message:
    """The ASGI receive of a response without a client, which never gets a disconnect."""
    await asyncio.Event().wait()
    return {"type": "http.disconnect"}


def _log_unavailable(error: DroverError) -> None:
    logs.event(
        _log,
        logging.WARNING,
        "background responses cannot be stored: tried again every second",
        reason=str(error.__cause__ or error),
    )
