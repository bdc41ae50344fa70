"""All of a frontend's requests on one stream: what became ready in a turn of the loop leaves as one message.

The hot path of a worker. It guarantees:

- Order: a request's rows are in the order in which its engine made them, and its last row is its end.
- Nothing lost: what is put into a mailbox leaves, unless its request is aborted or the stream ends.
- The first token at once: nothing waits for company; the writer takes whatever is there when it can write.
- Bounded buffers: a request without credit keeps its text in its own mailbox and holds up no other.
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
# Also of prompts, which answers begin with; frontends take 32 MB (drover/rpc.py).
_MOST_TOKENS_OF_A_STEP = 8192
# Of an answer that is read whole: what a frontend does not have when this worker is lost, and makes again.
_GROUP_TOKENS = 32
# Its beginning and its first tokens, which say that it is under way.
_ROWS_AT_ONCE = 2

Context = grpc.aio.ServicerContext[pb.Orders, pb.Step]


class _Open:
    """A request that is on the stream. `is_stopped`: its mailbox is not read any more."""

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
        self.mailbox = Mailbox(most_apart=0) if is_whole else Mailbox()
        self.mailbox.notify = self.queue
        self.credit = ROWS_OF_CREDIT
        self.is_queued = False
        self.is_stopped = False
        self.task: asyncio.Task[None] | None = None
        self._outbox = outbox

    def queue(self) -> None:
        """It has something to say, and may."""
        if self.is_queued or self.is_stopped or not self.credit or not self.mailbox.ready:
            return
        if not self.is_whole or self.rows < _ROWS_AT_ONCE or self.mailbox.has(_GROUP_TOKENS):
            self.is_queued = True
            self._outbox.add(self)


class _Outbox:
    """What is ready to be written."""

    def __init__(self) -> None:
        self._ready: list[_Open] = []
        self._ended: list[pb.Row] = []
        self._waiter: asyncio.Future[None] | None = None
        self._is_closed = False

    def add(self, request: _Open) -> None:
        self._ready.append(request)
        self._wake()

    def add_end(self, number: int, error: DroverError) -> None:
        """Of a request that has no mailbox any more."""
        self._ended.append(pb.Row(number=number, failure=failure_of(error)))
        self._wake()

    def close(self) -> None:
        """After what is there."""
        self._is_closed = True
        self._wake()

    async def step(self) -> pb.Step | None:
        """What there is, waiting for something if nothing is; None when it is closed."""
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
        """Ends of requests that are read no more come first: however much is ready, they do not wait."""
        step = pb.Step(rows=self._ended)
        self._ended = []
        ready, self._ready = self._ready, []
        tokens = 0
        for place, request in enumerate(ready):
            if tokens >= _MOST_TOKENS_OF_A_STEP:
                self._ready = ready[place:] + self._ready
                return step
            request.is_queued = False
            tokens += _add_row(step, request)
            request.queue()
        return step

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _add_row(step: pb.Step, request: _Open) -> int:
    """How many tokens it has."""
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
        mailbox.gave_failure()
        request.is_stopped = True
        return 0
    request.credit -= 1
    request.rows += 1
    return mailbox.fill(row.event)


class Exchange:
    """One stream."""

    def __init__(self, context: Context, generations: Generations) -> None:
        self._context = context
        self._generations = generations
        self._outbox = _Outbox()
        self._open: dict[int, _Open] = {}
        self._newest = 0

    def close(self) -> None:
        """Ends the stream once all that is ready is written."""
        self._outbox.close()

    async def run(self) -> None:
        """Until the frontend leaves, or `close`. Raises InvalidRequest for orders that make no sense."""
        streams = [
            asyncio.create_task(self._read(), name="exchange: read"),
            asyncio.create_task(self._write(), name="exchange: write"),
        ]
        try:
            done, _ = await asyncio.wait(streams, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.cancelled():
                    # grpc.aio sends no status for a handler that raises CancelledError unless its call was
                    # cancelled: the frontend would wait for ever.
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
        """None at the end of the stream, which grpc.aio's types do not know."""
        try:
            orders = cast("pb.Orders | object", await self._context.read())
        except DecodeError as error:
            raise InvalidRequest(f"orders that cannot be parsed: {error}") from None
        return orders if isinstance(orders, pb.Orders) else None

    async def _write(self) -> None:
        while (step := await self._outbox.step()) is not None:
            try:
                await self._context.write(step)
            except grpc.aio.InternalError as unsent:
                raise ClientLeft("cancelled") from unsent

    def _submit(self, submission: pb.Submission) -> None:
        if submission.number <= self._newest:
            raise InvalidRequest(f"number {submission.number} comes after {self._newest}")
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
        """Its mailbox says how it ends, unless it is cancelled."""
        await self._generations.run(submission.request, submission.client_request_id, request.mailbox)
        await request.mailbox.wait_over()

    def _ends(self, request: _Open, task: asyncio.Task[None]) -> None:
        """Called for a task too that was cancelled before it began, in which no code has run."""
        del self._open[request.number]
        request.mailbox.notify = None
        error: DroverError = ClientLeft("the request was aborted")
        if not task.cancelled() and (defect := task.exception()) is not None:
            _log.error("serving a request failed", exc_info=defect)
            error = internal_error(defect)
        if not request.mailbox.is_over:
            request.is_stopped = True
            self._outbox.add_end(request.number, error)
