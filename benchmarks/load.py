"""Many streams at once, counted and thrown away.

`python -m benchmarks.load http|grpc ADDRESS STREAMS TOKENS` is a process of its own, so that its CPU time is
nobody else's. It writes a line of JSON when every stream has had its first token, and one more for each line
that it reads; it ends when its input does.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass
from typing import cast

import grpc
import orjson
import uvloop

from benchmarks.answers import MARK, PATH, http_body, proto_request, question
from benchmarks.http_stream import post
from drover.rpc import CHANNEL_OPTIONS
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from tests.support.waiting import until

_BEGIN_SECONDS = 30.0


@dataclass(slots=True)
class Counts:
    """One stream's. `messages`: gRPC messages or HTTP chunks."""

    tokens: int = 0
    messages: int = 0
    lines: int = 0
    problem: str = ""


class HttpStream(asyncio.Protocol):
    """Chunks begin and end with \\r\\n, lines end with \\n: counting single bytes is all there is to do."""

    def __init__(self, request: bytes, counts: Counts) -> None:
        self._request = request
        self._counts = counts
        self._returns = 0
        self._began = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._began:
            self._begin(data)
        returns = data.count(b"\r")
        self._returns += returns
        counts = self._counts
        counts.messages = self._returns // 2
        counts.lines += data.count(b"\n") - returns
        counts.tokens += data.count(MARK)

    def connection_lost(self, error: Exception | None) -> None:
        self._counts.problem = self._counts.problem or f"connection lost: {error}"

    def _begin(self, data: bytes) -> None:
        self._began = True
        if not data.startswith(b"HTTP/1.1 200"):
            self._counts.problem = data.decode(errors="replace")


async def pull(stub: engine_pb2_grpc.EngineAsyncStub, tokens: int, counts: Counts) -> None:
    call = stub.GenerateStream(proto_request(question(), tokens))
    try:
        while (event := await call.read()) is not grpc.aio.EOF:
            deltas = cast(pb.GenerateEvent, event).deltas
            counts.messages += 1
            counts.lines += len(deltas)
            counts.tokens += sum(len(delta.token_ids) for delta in deltas)
        counts.problem = "the stream ended"
    except grpc.aio.AioRpcError as failure:
        counts.problem = f"{failure.code().name}: {failure.details()}"


async def load_http(address: str, tokens: int, counts: list[Counts]) -> None:
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    for each in counts:
        request = post(address, PATH, http_body(question(), tokens))
        # The factory is called before this turn of the loop is over.
        await loop.create_connection(lambda: HttpStream(request, each), host, int(port))  # noqa: B023
    await asyncio.Event().wait()


async def load_grpc(address: str, tokens: int, counts: list[Counts]) -> None:
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        stub: engine_pb2_grpc.EngineAsyncStub = engine_pb2_grpc.EngineStub(channel)
        await asyncio.gather(*(pull(stub, tokens, each) for each in counts))
        await asyncio.Event().wait()


def snapshot(counts: list[Counts], tokens: int) -> bytes:
    problems = [each.problem for each in counts if each.problem]
    problems += [
        "an answer is over: it was too short for this window" for each in counts if each.tokens >= tokens
    ]
    totals = {name: sum(getattr(each, name) for each in counts) for name in ("tokens", "messages", "lines")}
    return orjson.dumps({"at": time.monotonic(), **totals, "problem": next(iter(problems), "")}) + b"\n"


def has_begun(counts: Counts) -> bool:
    return bool(counts.tokens or counts.problem)


async def main(way: str, address: str, streams: int, tokens: int) -> None:
    counts = [Counts() for _ in range(streams)]
    running = asyncio.create_task((load_http if way == "http" else load_grpc)(address, tokens, counts))
    await until(lambda: all(map(has_begun, counts)), _BEGIN_SECONDS, "every stream has begun")
    orders = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(orders), sys.stdin
    )
    order = b"begin"
    while order and not running.done():
        sys.stdout.buffer.write(snapshot(counts, tokens))
        sys.stdout.buffer.flush()
        order = await orders.readline()
    running.cancel()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
