"""Added time to first token at one stream: engine alone, over gRPC, and through both tiers, in turn."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from statistics import median

import grpc
import orjson

from benchmarks.answers import PATH, http_body, proto_request, question
from benchmarks.http_stream import Connection
from benchmarks.measure import percentile
from benchmarks.table import progress, table
from drover.v1 import engine_pb2 as pb
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import Stack
from tests.support.waiting import until

TARGET_MS = 3.0
_TOKENS = 4
_WARM_UP = 20
_REQUEST_SECONDS = 10.0
_NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class First:
    """Milliseconds to the first token, at the client and as counted by the engine for that request."""

    seen_ms: float
    engine_ms: float
    prompt_tokens: int

    @property
    def added_ms(self) -> float:
        return self.seen_ms - self.engine_ms


@dataclass(frozen=True, slots=True)
class Ttft:
    direct: list[First]
    relayed: list[First]

    @property
    def added_ms(self) -> float:
        """Through both tiers, minus the engine's own: the difference of the medians."""
        return median(each.seen_ms for each in self.relayed) - median(each.engine_ms for each in self.relayed)

    @property
    def met(self) -> bool:
        return self.added_ms < TARGET_MS

    def raw(self) -> dict[str, object]:
        return {"added_ms": self.added_ms, "target_ms": TARGET_MS, "met": self.met, **asdict(self)}

    def report(self) -> str:
        rows = [_row("engine itself", [each.engine_ms for each in self.direct + self.relayed])]
        for name, firsts in (("gRPC to the worker", self.direct), ("HTTP through both", self.relayed)):
            rows.append(_row(name, [each.seen_ms for each in firsts]))
            rows.append(_row("  engine's part", [each.engine_ms for each in firsts]))
            rows.append(_row("  added", [each.added_ms for each in firsts]))
        title = (
            f"Time to first token at one stream, {len(self.relayed)} requests each way in turn, milliseconds"
        )
        verdict = "met" if self.met else "MISSED"
        return (
            table(title, ["", "median", "p90", "p99", "max"], rows)
            + f"\n  Both tiers add {self.added_ms:.2f} ms (difference of medians); "
            + f"target: below {TARGET_MS:g} ms: {verdict}"
        )


async def measure_ttft(stack: Stack, requests: int) -> Ttft:
    """Run pairs of requests, one each way, always on an idle engine."""
    measured = Ttft([], [])
    async with (
        engine_client(stack.worker.address) as engine,
        Connection(stack.frontend.address) as connection,
    ):
        for number in range(-_WARM_UP, requests):
            async with asyncio.timeout(_REQUEST_SECONDS):
                direct, relayed = await _directly(engine), await _relayed(connection)
            if number >= 0:
                measured.direct.append(direct)
                measured.relayed.append(relayed)
            if number >= 0 and number % 50 == 0:
                progress(f"time to first token: {number} of {requests}")
        await until(engine.idle, _REQUEST_SECONDS, "the worker is idle")
    _check_same_work(measured)
    return measured


async def _directly(engine: EngineClient) -> First:
    request = proto_request(question(), _TOKENS)
    began = time.perf_counter()
    call = engine.stub.GenerateStream(request)
    seen_ms, done = 0.0, pb.Done()
    while (event := await call.read()) is not grpc.aio.EOF:
        assert isinstance(event, pb.GenerateEvent)
        seen_ms = seen_ms or 1000 * (time.perf_counter() - began)
        done = event.done
    timings = done.timings
    return First(seen_ms, (timings.queue_ns + timings.prefill_ns) / _NS_PER_MS, done.prompt_tokens)


async def _relayed(connection: Connection) -> First:
    """load_duration is the wait in the worker's queue here: there is no model to load."""
    body = http_body(question(), _TOKENS)
    began = time.perf_counter()
    seen_ms, last = 0.0, b""
    async for chunk in connection.chunks(PATH, body):
        seen_ms = seen_ms or 1000 * (time.perf_counter() - began)
        last = chunk
    done = orjson.loads(last.strip().rpartition(b"\n")[2])
    engine_ns = done["load_duration"] + done["prompt_eval_duration"]
    return First(seen_ms, engine_ns / _NS_PER_MS, done["prompt_eval_count"])


def _check_same_work(measured: Ttft) -> None:
    prompts = {each.prompt_tokens for each in measured.direct + measured.relayed}
    if len(prompts) != 1:
        raise RuntimeError(
            f"both ways must ask the engine for the same work, but prompts had {prompts} tokens"
        )


def _row(name: str, values: list[float]) -> list[str]:
    numbers = (median(values), percentile(values, 90), percentile(values, 99), max(values))
    return [name, *(f"{number:.2f}" for number in numbers)]
