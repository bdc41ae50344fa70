"""All requests to one worker on one bidirectional stream: a message has the output of one engine step.

Hot path of the frontend. The loop that reads a step passes each row on at once, down to the client's socket,
without waking a task. Guarantees:

- Order: a request's rows are delivered in the order in which they came.
- Nothing lost: a stream that breaks ends each of its requests with an error on which they fail over.
- No delay of the first token: no row waits for others.
- Bounded buffers: rows for a client that does not read stay here, at most as many as the request has credit
  for; other requests do not wait for it.
- One writer: grpc.aio ends a call whose writes overlap.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TYPE_CHECKING, TypeVarTuple, cast

import grpc

from drover import logs
from drover.errors import ClientLeft, DroverError, InternalError, ProtocolBroken, WorkerUnreachable
from drover.rpc import ROWS_OF_CREDIT
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import EventSink, TokenSink, token_event
from frontend.routing.backends.delivery import discard
from frontend.routing.backends.grpc.boundary import boundary, closed, error_of_row, read
from frontend.routing.backends.grpc.event_check import broken

if TYPE_CHECKING:
    from drover.v1.engine_pb2_grpc import EngineAsyncStub

    StreamCall = grpc.aio.StreamStreamCall[pb.Orders, pb.Step]

What = TypeVarTuple("What")

_log = logging.getLogger("drover.fleet")
_GRANTED_ROWS = ROWS_OF_CREDIT // 2
# More rows than credit means that the worker ignores flow control.
_MAX_ROWS = 2 * ROWS_OF_CREDIT
# Buffered rows of one request, and of all at one worker. A request's credit is for some 6 MB at most.
_MAX_WAITING_BYTES = 16 * 1024 * 1024
_MAX_WAITING_BYTES_OF_ALL = 256 * 1024 * 1024
# A larger row of an aborted request counts as several.
_LATE_ROW_BYTES = _MAX_WAITING_BYTES // _MAX_ROWS
_MAX_BYTES_PER_WRITE = 4 * 1024 * 1024


class Exchange:
    """The stream to one worker, from the first request until it breaks or `close`. `on_missing` is called if
    the worker does not implement the RPC.
    """

    def __init__(self, stub: EngineAsyncStub, address: str, on_missing: Callable[[], None]) -> None:
        self._stub = stub
        self._address = address
        self._on_missing = on_missing
        self._handles: dict[int, ExchangeHandle] = {}
        # Aborted requests whose last row has not come, with the number of rows since.
        self._aborted: dict[int, int] = {}
        self._newest = 0
        self._unsent: dict[int, pb.Submission] = {}
        self._orders = pb.Orders()
        self.waiting_bytes = 0
        self._has_orders = asyncio.Event()
        self.is_over = False
        # It outlives the request that opens it, so it must not inherit that request's context.
        self._task = asyncio.create_task(self._run(), name="exchange", context=Context())

    def submit(self, request: pb.GenerateRequest, client_request_id: str) -> ExchangeHandle:
        number = self._newest = self._newest + 1
        self._unsent[number] = pb.Submission(
            number=number, request=request, client_request_id=client_request_id
        )
        self._has_orders.set()
        handle = self._handles[number] = ExchangeHandle(number, self)
        return handle

    def abort(self, number: int) -> None:
        """Free the worker's slot, or drop the request if it was not sent yet."""
        if self._handles.pop(number, None) is None or self._unsent.pop(number, None) is not None:
            return
        if not self.is_over:
            self._aborted[number] = 0
            self._orders.aborts.append(number)
            self._has_orders.set()

    def grant(self, number: int, rows: int) -> None:
        self._orders.credits.add(number=number, rows=rows)
        self._has_orders.set()

    def forget(self, number: int) -> None:
        """Call when the request is complete."""
        self._handles.pop(number, None)

    async def close(self) -> None:
        """Close the stream, also if its task has not started."""
        self._task.cancel()
        await asyncio.wait({self._task})
        self._end(closed())

    async def _run(self) -> None:
        call = self._stub.Exchange()
        writer = asyncio.create_task(self._write(call), name="exchange: write")
        error: DroverError = closed()
        try:
            await self._read(call)
        except DroverError as failure:
            error = failure
            self._log_violation(failure)
        except Exception as defect:  # noqa: BLE001 - its requests must not wait for a stream that is not read
            _log.error("reading a worker's steps failed", exc_info=defect)
        finally:
            self._end(error)
            writer.cancel()
            call.cancel()
            await asyncio.wait({writer})

    def _end(self, error: DroverError) -> None:
        self.is_over = True
        for handle in list(self._handles.values()):
            handle.fail(error)
        self._handles.clear()
        self._unsent.clear()

    def _log_violation(self, error: DroverError) -> None:
        """There may be no request whose own failure would be logged."""
        if isinstance(error, ProtocolBroken):
            logs.event(_log, logging.ERROR, "exchange ended", worker=self._address, reason=error.message)

    async def _read(self, call: StreamCall) -> None:
        with boundary():
            try:
                while (step := await call.read()) is not grpc.aio.EOF:
                    self._on_step(read(cast(pb.Step, step)))
            except grpc.aio.AioRpcError as failure:
                if failure.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
                self._on_missing()
                raise WorkerUnreachable("the worker has no Exchange") from failure
        raise WorkerUnreachable("the worker ended the exchange")

    async def _write(self, call: StreamCall) -> None:
        """Failed writes are not reported here: the reader gets the call's status."""
        try:
            while True:
                await self._has_orders.wait()
                await call.write(self._next_orders())
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            pass
        except Exception as defect:  # noqa: BLE001 - requests that are not sent would wait for ever
            _log.error("writing a worker's orders failed", exc_info=defect)
            call.cancel()

    def _next_orders(self) -> pb.Orders:
        """The next message. Of limited size, since aborts and credit wait behind it."""
        self._has_orders.clear()
        orders, self._orders = self._orders, pb.Orders()
        size = 0
        while self._unsent and size < _MAX_BYTES_PER_WRITE:
            submission = self._unsent.pop(next(iter(self._unsent)))
            size += submission.ByteSize()
            orders.submissions.append(submission)
        if self._unsent:
            self._has_orders.set()
        return orders

    def _on_step(self, step: pb.Step) -> None:
        handles = self._handles
        for row in step.rows:
            number = row.number
            handle = handles.get(number)
            if handle is None:
                self._on_late_row(row)
            elif text := row.text:
                handle.on_token(text, row.token_id, row.completion_tokens)
            elif row.HasField("event"):
                handle.on_event(row.event)
            else:
                del handles[number]
                handle.fail(error_of_row(row.failure))

    def _on_late_row(self, row: pb.Row) -> None:
        """Ignore the rows of an aborted request until its last one. For any other request raises
        ProtocolBroken, which ends the stream.
        """
        number = row.number
        late = self._aborted.get(number)
        if late is None:
            raise broken(f"a row for request {number}, which is unknown")
        if late >= _MAX_ROWS:
            raise broken("rows of a request long after its abort", is_flood=True)
        if row.HasField("failure") or row.event.HasField("done"):
            del self._aborted[number]
        else:
            self._aborted[number] = late + 1 + row.ByteSize() // _LATE_ROW_BYTES


class ExchangeHandle:
    """Implements frontend.routing.backends.base.WorkerHandle."""

    __slots__ = (
        "_busy",
        "_delivered_rows",
        "_error",
        "_exchange",
        "_is_over",
        "_number",
        "_sink",
        "_token_sink",
        "_waiter",
        "_waiting",
        "_waiting_bytes",
    )

    def __init__(self, number: int, exchange: Exchange) -> None:
        self._number = number
        self._exchange = exchange
        self._sink: EventSink | None = None
        self._token_sink: Callable[[str, int, int], Awaitable[object] | None] | None = None
        self._busy: Awaitable[object] | None = None
        # Rows that came while `sink` was busy.
        self._waiting: deque[pb.GenerateEvent] = deque()
        self._waiting_bytes = 0
        self._delivered_rows = 0
        self._error: Exception | None = None
        self._is_over = False
        self._waiter: asyncio.Future[None] | None = None

    async def deliver(self, sink: EventSink) -> None:
        """The reading loop passes rows to `sink`; this task waits while `sink` is busy, and for the end."""
        self._sink = sink
        self._token_sink = sink.token if isinstance(sink, TokenSink) else None
        try:
            while True:
                while self._busy is not None or self._waiting:
                    await self._catch_up()
                if self._error is not None:
                    raise self._error
                if self._is_over:
                    return
                self._waiter = asyncio.get_running_loop().create_future()
                await self._waiter
        finally:
            self._sink = self._token_sink = self._waiter = None
            discard(self._busy)
            self._drop_waiting()
            self.cancel()

    def on_event(self, event: pb.GenerateEvent) -> None:
        if event.HasField("done"):
            self._is_over = True
            self._exchange.forget(self._number)
        if self._sink is None or self._busy is not None or self._waiting:
            self._buffer(event)
        else:
            self._pass_on(self._sink, event)

    def on_token(self, text: str, token_id: int, completion_tokens: int) -> None:
        sink = self._token_sink
        if sink is None or self._busy is not None or self._waiting:
            self.on_event(token_event(text, token_id, completion_tokens))
        else:
            self._pass_on(sink, text, token_id, completion_tokens)

    def fail(self, error: Exception) -> None:
        """End the delivery, once the rows before the error are delivered. The first error counts."""
        self._error = self._error or error
        self._wake()

    def abandon(self, error: Exception) -> None:
        self._drop_waiting()
        self.fail(error)
        self._exchange.abort(self._number)

    def cancel(self) -> None:
        self._exchange.abort(self._number)
        self.fail(ClientLeft("request canceled"))

    async def _catch_up(self) -> None:
        if self._busy is not None:
            await self._busy
            self._busy = None
        elif self._sink is not None:
            event = self._waiting.popleft()
            self._count_waiting(-event.ByteSize())
            self._pass_on(self._sink, event)

    def _pass_on(self, sink: Callable[[*What], Awaitable[object] | None], *what: *What) -> None:
        """An exception of `sink` concerns its own request only: it is raised in that request's task."""
        try:
            self._busy = sink(*what)
        except Exception as error:  # noqa: BLE001 - raised in the request's own task
            self.abandon(error)
            return
        except asyncio.CancelledError:
            # It comes from what `sink` called: nothing was awaited here, so this task was not cancelled.
            self.abandon(InternalError("sending the response was cancelled"))
            return
        self._delivered_rows += 1
        if self._delivered_rows == _GRANTED_ROWS:
            self._delivered_rows = 0
            self._exchange.grant(self._number, _GRANTED_ROWS)
        if self._busy is not None or self._is_over:
            self._wake()

    def _buffer(self, event: pb.GenerateEvent) -> None:
        """Keep a copy: the event is part of its step's message, which would stay in memory."""
        kept = pb.GenerateEvent()
        kept.CopyFrom(event)
        self._waiting.append(kept)
        self._count_waiting(kept.ByteSize())
        if (
            len(self._waiting) > _MAX_ROWS
            or self._waiting_bytes > _MAX_WAITING_BYTES
            or self._exchange.waiting_bytes > _MAX_WAITING_BYTES_OF_ALL
        ):
            self.abandon(broken("more rows than it was given credit for", is_flood=True))

    def _count_waiting(self, more_bytes: int) -> None:
        self._waiting_bytes += more_bytes
        self._exchange.waiting_bytes += more_bytes

    def _drop_waiting(self) -> None:
        self._waiting.clear()
        self._count_waiting(-self._waiting_bytes)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
