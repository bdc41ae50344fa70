"""All requests to one worker on one stream: a message brings what an engine step gave to any of them.

The hot path of a frontend. The loop that reads a step hands each row on at once, down to the client's socket,
without waking a task. It guarantees:

- Order: a request's rows are taken in the order in which they came.
- Nothing lost: a stream that breaks ends each of its requests with an error on which they go on elsewhere.
- The first token at once: nothing is held back for company.
- Bounded buffers: a request whose client does not read keeps its rows here, and gets no more than its credit;
  the others do not wait for it.
- One writer: grpc.aio ends a call whose writes overlap.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, cast

import grpc

from drover.errors import ClientLeft, DroverError, WorkerUnreachable
from drover.rpc import ROWS_OF_CREDIT, error_of_failure
from drover.v1 import engine_pb2 as pb
from frontend.fleet.answer_check import broken
from frontend.fleet.base import Take
from frontend.fleet.grpc_boundary import boundary, read

if TYPE_CHECKING:
    from drover.v1.engine_pb2_grpc import EngineAsyncStub

    Call = grpc.aio.StreamStreamCall[pb.Orders, pb.Step]

_log = logging.getLogger("drover.fleet")
_GRANTED_ROWS = ROWS_OF_CREDIT // 2
_MOST_WAITING_BYTES = 16 * 1024 * 1024


class Exchange:
    """One stream, from the first request on until it breaks or `close`. `on_missing` is called where the
    worker does not know the call.
    """

    def __init__(self, stub: EngineAsyncStub, on_missing: Callable[[], None]) -> None:
        self._stub = stub
        self._on_missing = on_missing
        self._handles: dict[int, ExchangeHandle] = {}
        # Whose end has not come yet.
        self._aborted: set[int] = set()
        self._newest = 0
        self._orders = pb.Orders()
        self._has_orders = asyncio.Event()
        self.is_over = False
        self._task = asyncio.create_task(self._run(), name="exchange")

    def submit(self, request: pb.GenerateRequest, client_request_id: str) -> ExchangeHandle:
        self._newest += 1
        self._orders.submissions.add(
            number=self._newest, request=request, client_request_id=client_request_id
        )
        self._has_orders.set()
        handle = self._handles[self._newest] = ExchangeHandle(self._newest, self)
        return handle

    def abort(self, number: int) -> None:
        """Frees what the request holds at the worker."""
        if self._handles.pop(number, None) is not None and not self.is_over:
            self._aborted.add(number)
            self._orders.aborts.append(number)
            self._has_orders.set()

    def grant(self, number: int, rows: int) -> None:
        self._orders.credits.add(number=number, rows=rows)
        self._has_orders.set()

    def forget(self, number: int) -> None:
        """It has ended."""
        self._handles.pop(number, None)

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self) -> None:
        call = self._stub.Exchange()
        writer = asyncio.create_task(self._write(call), name="exchange: write")
        error: DroverError = WorkerUnreachable("the connection to the worker was closed")
        try:
            await self._read(call)
        except DroverError as failure:
            error = failure
        except Exception as defect:  # noqa: BLE001 - a stream that nobody reads would leave its requests waiting
            _log.error("reading a worker's steps failed", exc_info=defect)
        finally:
            self.is_over = True
            writer.cancel()
            call.cancel()
            for handle in list(self._handles.values()):
                handle.fail(error)
            self._handles.clear()
            await asyncio.wait({writer})

    async def _read(self, call: Call) -> None:
        with boundary():
            try:
                while (step := await call.read()) is not grpc.aio.EOF:
                    self._saw(read(cast(pb.Step, step)))
            except grpc.aio.AioRpcError as failure:
                if failure.code() is not grpc.StatusCode.UNIMPLEMENTED:
                    raise
                self._on_missing()
                raise WorkerUnreachable("the worker has no Exchange") from failure
        raise WorkerUnreachable("the worker ended the exchange")

    async def _write(self, call: Call) -> None:
        """A write that fails needs no word: the reader gets the call's status."""
        with suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            while True:
                await self._has_orders.wait()
                self._has_orders.clear()
                orders, self._orders = self._orders, pb.Orders()
                await call.write(orders)

    def _saw(self, step: pb.Step) -> None:
        handles = self._handles
        for row in step.rows:
            number = row.number
            handle = handles.get(number)
            if handle is None:
                self._saw_late(row)
            elif row.HasField("event"):
                handle.saw(row.event)
            else:
                del handles[number]
                handle.fail(error_of_failure(row.failure))

    def _saw_late(self, row: pb.Row) -> None:
        """Of an aborted request, until its end. Raises ProtocolBroken for any other."""
        if row.number not in self._aborted:
            raise broken(f"a row for request {row.number}, which is not there")
        if row.HasField("failure") or row.event.HasField("done"):
            self._aborted.discard(row.number)


class ExchangeHandle:
    """Implements frontend.fleet.base.WorkerHandle."""

    __slots__ = (
        "_busy",
        "_error",
        "_exchange",
        "_is_over",
        "_number",
        "_take",
        "_taken",
        "_waiter",
        "_waiting",
        "_waiting_bytes",
    )

    def __init__(self, number: int, exchange: Exchange) -> None:
        self._number = number
        self._exchange = exchange
        self._take: Take | None = None
        self._busy: Awaitable[object] | None = None
        # Rows that came while the taker was busy.
        self._waiting: deque[pb.GenerateEvent] = deque()
        self._waiting_bytes = 0
        self._taken = 0
        self._error: Exception | None = None
        self._is_over = False
        self._waiter: asyncio.Future[None] | None = None

    async def deliver(self, take: Take) -> None:
        """Rows go from the reading loop to `take`; this task waits where that is busy, and for the end."""
        self._take = take
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
            self._take = self._waiter = None
            self.cancel()

    def saw(self, event: pb.GenerateEvent) -> None:
        if event.HasField("done"):
            self._is_over = True
            self._exchange.forget(self._number)
        if self._take is None or self._busy is not None or self._waiting:
            self._wait(event)
        else:
            self._hand_on(self._take, event)

    def fail(self, error: Exception) -> None:
        """After the rows that came before it. The first error counts."""
        self._error = self._error or error
        self._wake()

    def abandon(self, error: DroverError) -> None:
        self._waiting.clear()
        self.fail(error)
        self._exchange.abort(self._number)

    def cancel(self) -> None:
        self._exchange.abort(self._number)
        self.fail(ClientLeft("request canceled"))

    async def _catch_up(self) -> None:
        if self._busy is not None:
            await self._busy
            self._busy = None
        elif self._take is not None:
            event = self._waiting.popleft()
            self._hand_on(self._take, event)

    def _hand_on(self, take: Take, event: pb.GenerateEvent) -> None:
        try:
            self._busy = take(event)
        except Exception as error:  # noqa: BLE001 - the request's own failure: raised in its own task
            self._waiting.clear()
            self.fail(error)
            return
        self._taken += 1
        if self._taken == _GRANTED_ROWS:
            self._taken = 0
            self._exchange.grant(self._number, _GRANTED_ROWS)
        if self._busy is not None or self._is_over:
            self._wake()

    def _wait(self, event: pb.GenerateEvent) -> None:
        self._waiting.append(event)
        self._waiting_bytes += event.ByteSize()
        if len(self._waiting) > 2 * ROWS_OF_CREDIT or self._waiting_bytes > _MOST_WAITING_BYTES:
            self.abandon(broken("more rows than it was given credit for", is_flood=True))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
