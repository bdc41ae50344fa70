"""A frontend's end of an exchange with a worker whose engine the tests play."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import grpc
import pytest

from drover.rpc import CHANNEL_OPTIONS
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from tests.fakes.manual_engine import ManualWorker, listening
from tests.support.waiting import until

SECONDS = 30.0


class Frontend:
    """The other end of a stream: keeps all rows, by request."""

    def __init__(self, stub: engine_pb2_grpc.EngineAsyncStub) -> None:
        self.call = stub.Exchange()
        self.steps: list[pb.Step] = []
        self.rows: defaultdict[int, list[pb.Row]] = defaultdict(list)
        self.status: grpc.aio.AioRpcError | None = None
        self.reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while (step := await self.call.read()) is not grpc.aio.EOF:
                assert isinstance(step, pb.Step)
                self.steps.append(step)
                for row in step.rows:
                    self.rows[row.number].append(with_event(row))
        except grpc.aio.AioRpcError as status:
            self.status = status

    async def submit(self, *numbers: int) -> None:
        await self.orders(pb.Orders(submissions=[submission(number) for number in numbers]))

    async def abort(self, *numbers: int) -> None:
        await self.orders(pb.Orders(aborts=numbers))

    async def grant(self, number: int, rows: int) -> None:
        await self.orders(pb.Orders(credits=[pb.Credit(number=number, rows=rows)]))

    async def orders(self, orders: pb.Orders) -> None:
        await self.call.write(orders)

    async def has_end(self, *numbers: int) -> None:
        await until(lambda: all(self.ends(number) for number in numbers), SECONDS, f"{numbers} have an end")

    async def has_rows(self, number: int, rows: int = 1) -> None:
        await until(lambda: len(self.rows[number]) >= rows, SECONDS, f"{number} has {rows} rows")

    def ends(self, number: int) -> list[pb.Row]:
        return [row for row in self.rows[number] if is_end(row)]

    def text(self, number: int) -> str:
        return "".join(delta.content for row in self.rows[number] for delta in row.event.deltas)

    def reason(self, number: int) -> str:
        """Of its only end, which is its last row."""
        (end,) = self.ends(number)
        assert end == self.rows[number][-1]
        return end.failure.reason


def with_event(row: pb.Row) -> pb.Row:
    """The event that a row of one token stands for."""
    if not row.text:
        return row
    assert not row.HasField("event")
    delta = pb.Delta(content=row.text, token_ids=[row.token_id], completion_tokens=row.completion_tokens)
    return pb.Row(number=row.number, event=pb.GenerateEvent(deltas=[delta]))


def is_end(row: pb.Row) -> bool:
    return row.HasField("failure") or row.event.HasField("done")


def submission(number: int) -> pb.Submission:
    request = pb.GenerateRequest(request_id=name_of(number), raw="p")
    return pb.Submission(number=number, request=request, client_request_id=f"client-{number}")


def name_of(number: int) -> str:
    return f"r{number}"


class Pair:
    """A worker, and a frontend that has opened a stream to it."""

    def __init__(self, worker: ManualWorker, address: str, channel: grpc.aio.Channel) -> None:
        self.worker = worker
        self.engine = worker.engine
        self.address = address
        self.stub: engine_pb2_grpc.EngineAsyncStub = engine_pb2_grpc.EngineStub(channel)
        self.frontend = Frontend(self.stub)

    async def submit(self, *numbers: int) -> None:
        """Until all run."""
        await self.frontend.submit(*numbers)
        await self.runs(*numbers)

    async def runs(self, *numbers: int) -> None:
        names = {name_of(number) for number in numbers}
        await until(lambda: names <= self.engine.mailboxes.keys(), SECONDS, f"{numbers} run")

    def say(self, number: int, text: str) -> None:
        self.engine.mailboxes[name_of(number)].content(text, [1], 1)

    def end(self, number: int) -> None:
        self.engine.end(name_of(number))

    async def is_free(self, *numbers: int) -> None:
        names = {name_of(number) for number in numbers}
        await until(lambda: names <= set(self.engine.freed), SECONDS, f"{numbers} have left the engine")

    async def generates(self, number: int = 9) -> None:
        """A new request on the same stream gets its answer, and nothing of others comes with it."""
        await self.submit(number)
        self.say(number, "ok")
        self.end(number)
        await self.frontend.has_end(number)
        assert self.frontend.text(number) == "ok"
        assert self.frontend.status is None


@asynccontextmanager
async def running_exchange(slots: int) -> AsyncIterator[Pair]:
    worker = ManualWorker(slots)
    async with (
        listening(worker.service) as address,
        grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel,
    ):
        pair = Pair(worker, address, channel)
        try:
            yield pair
        finally:
            pair.frontend.call.cancel()
            await asyncio.wait({pair.frontend.reading})


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    """The fields of each request's line in the log."""
    records = [record for record in caplog.records if record.name == "drover.worker.request"]
    return [cast("dict[str, object]", vars(record)["fields"]) for record in records]
