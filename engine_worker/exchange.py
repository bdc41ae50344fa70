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
from collections.abc import Sequence
from typing import cast

import grpc

from drover.errors import ClientLeft, DroverError, InvalidRequest
from drover.rpc import ROWS_OF_CREDIT, failure_of
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.mailbox import Mailbox
from engine_worker.generations import Generations

# With 20 alternatives to each some 7 MB; frontends take 32 (drover/rpc.py).
_MOST_TOKENS_OF_A_STEP = 8192

Context = grpc.aio.ServicerContext[pb.Orders, pb.Step]


class _Open:
    """A request that is on the stream."""

    __slots__ = ("_outbox", "credit", "is_queued", "mailbox", "number", "task")

    def __init__(self, number: int, outbox: _Outbox) -> None:
        self.number = number
        self.mailbox = Mailbox()
        self.mailbox.notify = self.queue
        self.credit = ROWS_OF_CREDIT
        self.is_queued = False
        self.task: asyncio.Task[None] | None = None
        self._outbox = outbox

    def queue(self) -> None:
        """It has something to say, and may."""
        if not self.is_queued and self.credit and self.mailbox.ready:
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
        while not (self._ready or self._ended):
            if self._is_closed:
                return None
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._take()

    def _take(self) -> pb.Step:
        step = pb.Step()
        ready, self._ready = self._ready, []
        tokens = 0
        for place, request in enumerate(ready):
            if tokens >= _MOST_TOKENS_OF_A_STEP:
                self._ready = ready[place:] + self._ready
                return step
            request.is_queued = False
            tokens += _add_row(step, request)
            request.queue()
        step.rows.extend(self._ended)
        self._ended = []
        return step

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _add_row(step: pb.Step, request: _Open) -> int:
    """How many tokens it has."""
    mailbox = request.mailbox
    if not mailbox.ready:
        return 0
    row = step.rows.add(number=request.number)
    if (error := mailbox.failure) is not None:
        row.failure.CopyFrom(failure_of(error))
        mailbox.gave_failure()
        return 0
    request.credit -= 1
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
                task.result()
        finally:
            tasks = [*streams, *(each.task for each in self._open.values() if each.task is not None)]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        # Typed there without the end of the stream, and without messages that cannot be parsed.
        while (orders := cast("pb.Orders | object", await self._context.read())) is not grpc.aio.EOF:
            if not isinstance(orders, pb.Orders):
                raise InvalidRequest("orders that cannot be parsed")
            for submission in orders.submissions:
                self._submit(submission)
            self._abort(orders.aborts)
            for credit in orders.credits:
                if (request := self._open.get(credit.number)) is not None:
                    request.credit += credit.rows
                    request.queue()

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
        request = self._open[submission.number] = _Open(submission.number, self._outbox)
        request.task = asyncio.create_task(self._serve(submission, request), name="request")

    def _abort(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            if (request := self._open.get(number)) is not None and request.task is not None:
                request.credit = 0
                request.task.cancel()

    async def _serve(self, submission: pb.Submission, request: _Open) -> None:
        """Its mailbox says how it ends, unless it is cancelled."""
        try:
            await self._generations.run(submission.request, submission.client_request_id, request.mailbox)
            await request.mailbox.wait_over()
        finally:
            del self._open[request.number]
            if not request.mailbox.is_over:
                request.credit = 0
                self._outbox.add_end(request.number, ClientLeft("the request was aborted"))
