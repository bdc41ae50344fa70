"""All of a frontend's requests on one stream: rows that are ready together are sent as one message.

This is a worker's hot path. It guarantees:

- Order: a request's rows are in the order in which its engine made them, and its last row is its end.
- Nothing lost: what is put into a mailbox is sent, unless its request is aborted or the stream ends.
- No batching delay: the writer takes whatever is ready as soon as it can write.
- Backpressure: a request without credit keeps its text in its own mailbox and delays no other.
- One writer: grpc.aio ends a call whose writes overlap.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import cast

import grpc
from google.protobuf.message import DecodeError

from drover.errors import ClientLeft, DroverError, InvalidRequest, internal_error
from drover.rpc import ROWS_OF_CREDIT, failure_of
from drover.v1 import engine_pb2 as pb
from engine_worker.generations import Generations
from engine_worker.output.mailbox import Mailbox

_log = logging.getLogger("drover.worker")
# Tokens of prompts count too, since `started` has them; frontends accept 32 MB (drover/rpc.py).
_MAX_TOKENS_PER_STEP = 8192
# Tokens per row of an answer that is not streamed: as many are lost with this worker, and generated again.
_GROUP_TOKENS = 32
# Rows of it that are sent at once: `started` and the first tokens, which show progress.
_UNGROUPED_ROWS = 2

Context = grpc.aio.ServicerContext[pb.Orders, pb.Step]


class _Open:
    """A request on the stream. `is_stopped`: its mailbox is no longer read."""

    __slots__ = (
        "_outbox",
        "credit",
        "is_queued",
        "is_stopped",
        "is_whole",
        "mailbox",
        "number",
        "rows",
        "task",
    )

    def __init__(self, number: int, outbox: _Outbox, is_whole: bool) -> None:
        self.number = number
        self.is_whole = is_whole
        self.rows = 0
        self.mailbox = Mailbox(max_separate=0) if is_whole else Mailbox()
        self.mailbox.notify = self.queue
        self.credit = ROWS_OF_CREDIT
        self.is_queued = False
        self.is_stopped = False
        self.task: asyncio.Task[None] | None = None
        self._outbox = outbox

    def queue(self) -> None:
        """Queue it for writing if it has output and credit."""
        if self.is_queued or self.is_stopped or not self.credit or not self.mailbox.ready:
            return
        if not self.is_whole or self.rows < _UNGROUPED_ROWS or self.mailbox.has(_GROUP_TOKENS):
            self.is_queued = True
            self._outbox.add(self)


class _Outbox:
    """The requests whose rows are ready to be written."""

    def __init__(self) -> None:
        self._ready: list[_Open] = []
        self._ended: list[pb.Row] = []
        self._waiter: asyncio.Future[None] | None = None
        self._is_closed = False

    def add(self, request: _Open) -> None:
        self._ready.append(request)
        self._wake()

    def add_end(self, number: int, error: DroverError) -> None:
        """Add the failure of a request whose mailbox is no longer read."""
        self._ended.append(pb.Row(number=number, failure=failure_of(error)))
        self._wake()

    def close(self) -> None:
        """Close after what is ready has been written."""
        self._is_closed = True
        self._wake()

    async def step(self) -> pb.Step | None:
        """Wait until something is ready, and return it as one message; None when closed."""
        while True:
            if self._ready or self._ended:
                if (step := self._take()).rows:
                    return step
            elif self._is_closed:
                return None
            else:
                await self._wait()

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _take(self) -> pb.Step:
        """Take failures first, then rows up to the limit of a message."""
        step = pb.Step(rows=self._ended)
        self._ended = []
        ready, self._ready = self._ready, []
        tokens = 0
        for at, request in enumerate(ready):
            if tokens >= _MAX_TOKENS_PER_STEP:
                self._ready = ready[at:] + self._ready
                return step
            request.is_queued = False
            tokens += _add_row(step, request)
            request.queue()
        return step

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _add_row(step: pb.Step, request: _Open) -> int:
    """Add the next row of a request; return its number of tokens."""
    mailbox = request.mailbox
    if request.is_stopped or not mailbox.ready:
        return 0
    if (token := mailbox.take_token()) is not None:
        text, token_id, count = token
        step.rows.add(number=request.number, text=text, token_id=token_id, completion_tokens=count)
        request.credit -= 1
        request.rows += 1
        return 1
    row = step.rows.add(number=request.number)
    if (error := mailbox.failure) is not None:
        row.failure.CopyFrom(failure_of(error))
        mailbox.mark_failure_taken()
        request.is_stopped = True
        return 0
    request.credit -= 1
    request.rows += 1
    return mailbox.fill(row.event)


class Exchange:
    """One stream of one frontend."""

    def __init__(self, context: Context, generations: Generations) -> None:
        self._context = context
        self._generations = generations
        self._outbox = _Outbox()
        self._open: dict[int, _Open] = {}
        self._newest = 0

    def close(self) -> None:
        """End the stream after all that is ready has been written."""
        self._outbox.close()

    async def run(self) -> None:
        """Serve the stream until the frontend leaves or `close`. Raises InvalidRequest for invalid orders."""
        streams = [
            asyncio.create_task(self._read(), name="exchange: read"),
            asyncio.create_task(self._write(), name="exchange: write"),
        ]
        try:
            done, _ = await asyncio.wait(streams, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.cancelled():
                    # grpc.aio sends no status for a handler that raises CancelledError unless its call was
                    # cancelled, and the frontend would wait for ever.
                    raise ClientLeft("cancelled")
                task.result()
        finally:
            tasks = [*streams, *(each.task for each in self._open.values() if each.task is not None)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        while (orders := await self._next_orders()) is not None:
            for submission in orders.submissions:
                self._submit(submission)
            self._abort(orders.aborts)
            for credit in orders.credits:
                if (request := self._open.get(credit.number)) is not None:
                    request.credit += credit.rows
                    request.queue()

    async def _next_orders(self) -> pb.Orders | None:
        """Read a message; None at the end of the stream, for which grpc.aio's types have no value."""
        try:
            orders = cast("pb.Orders | object", await self._context.read())
        except DecodeError as error:
            raise InvalidRequest(f"orders cannot be parsed: {error}") from None
        return orders if isinstance(orders, pb.Orders) else None

    async def _write(self) -> None:
        while (step := await self._outbox.step()) is not None:
            try:
                await self._context.write(step)
            except grpc.aio.InternalError as unsent:
                raise ClientLeft("cancelled") from unsent

    def _submit(self, submission: pb.Submission) -> None:
        if submission.number <= self._newest:
            raise InvalidRequest(f"submission number {submission.number} is not greater than {self._newest}")
        self._newest = submission.number
        request = self._open[submission.number] = _Open(
            submission.number, self._outbox, submission.request.whole
        )
        request.task = asyncio.create_task(self._serve(submission, request), name="request")
        request.task.add_done_callback(lambda task: self._ends(request, task))

    def _abort(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if (request := self._open.get(number)) is not None and request.task is not None:
                request.is_stopped = True
                request.task.cancel()

    async def _serve(self, submission: pb.Submission, request: _Open) -> None:
        """Run a request until everything has been taken from its mailbox."""
        await self._generations.run(submission.request, submission.client_request_id, request.mailbox)
        await request.mailbox.wait_over()

    def _ends(self, request: _Open, task: asyncio.Task[None]) -> None:
        """Clean up after a task, also one that was cancelled before it started."""
        del self._open[request.number]
        request.mailbox.notify = None
        error: DroverError = ClientLeft("the request was aborted")
        if not task.cancelled() and (defect := task.exception()) is not None:
            _log.error("unhandled exception in a request", exc_info=defect)
            error = internal_error(defect)
        if not request.mailbox.is_over:
            request.is_stopped = True
            self._outbox.add_end(request.number, error)
