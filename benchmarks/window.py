"""A steady window of load: what each tier spent for the tokens that the client received in it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

import orjson

from benchmarks.measure import CpuMeter, cpu_use
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import ROOT, Stack
from tests.support.waiting import until

Way = Literal["http", "grpc"]
SETTLE_SECONDS = 2.0
_BEGIN_SECONDS = 40.0
_ANSWER_SECONDS = 15.0
_IDLE_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    way: Way
    streams: int
    seconds: float
    tokens_per_second: float
    """Of one stream, as the engine offers them."""
    answer_tokens: int


@dataclass(frozen=True, slots=True)
class Window:
    """Rates are tokens per second; `cores`: cores in use by worker, frontend and client."""

    way: Way
    streams: int
    seconds: float
    offered: float
    made: float
    received: float
    tokens_per_message: float
    lines_per_message: float
    behind_tokens_per_stream: float
    """Tokens that the engine had made and the client had not got, at the window's end."""
    cores: Mapping[str, float]
    machine_cores: float

    def us_per_token(self, name: str) -> float:
        return 1e6 * self.cores[name] / self.received

    def us_per_message(self, name: str) -> float:
        return self.us_per_token(name) * self.tokens_per_message


class Generator:
    """Our end of a process of benchmarks.load."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.pid = process.pid
        self._orders = process.stdin
        self._answers = process.stdout

    async def begun(self) -> None:
        await self._read(_BEGIN_SECONDS)

    async def counts(self) -> dict[str, float]:
        self._orders.write(b"count\n")
        return await self._read(_ANSWER_SECONDS)

    async def _read(self, seconds: float) -> dict[str, float]:
        line = await asyncio.wait_for(self._answers.readline(), seconds)
        if not line:
            raise RuntimeError("the load generator died")
        answer = orjson.loads(line)
        if problem := answer.pop("problem"):
            raise RuntimeError(f"the load broke: {problem}")
        return dict(answer)


async def measure_window(stack: Stack, plan: Plan) -> Window:
    address = stack.frontend.address if plan.way == "http" else stack.worker.address
    async with engine_client(stack.worker.address) as engine:
        made_before = (await engine.load()).decode_tokens_done
        async with _generator(plan, address) as generator:
            await generator.begun()
            await asyncio.sleep(SETTLE_SECONDS)
            window = await _observe(stack, plan, generator, engine, made_before)
        await until(engine.idle, _IDLE_SECONDS, "the worker is idle after the load has gone")
    return window


async def _observe(
    stack: Stack, plan: Plan, generator: Generator, engine: EngineClient, made_before: int
) -> Window:
    meter = CpuMeter({"worker": stack.worker.pid, "frontend": stack.frontend.pid, "client": generator.pid})
    made_first, first, cpu_first = await engine.load(), await generator.counts(), meter.read()
    await asyncio.sleep(plan.seconds)
    made_last, last, cpu_last = await engine.load(), await generator.counts(), meter.read()
    use = cpu_use(cpu_first, cpu_last)
    took = {name: last[name] - first[name] for name in first}
    return Window(
        way=plan.way,
        streams=plan.streams,
        seconds=took["at"],
        offered=plan.streams * plan.tokens_per_second,
        made=(made_last.decode_tokens_done - made_first.decode_tokens_done) / took["at"],
        received=took["tokens"] / took["at"],
        tokens_per_message=took["tokens"] / took["messages"],
        lines_per_message=took["lines"] / took["messages"],
        behind_tokens_per_stream=max(0.0, made_last.decode_tokens_done - made_before - last["tokens"])
        / plan.streams,
        cores=use.by_name,
        machine_cores=use.machine,
    )


@asynccontextmanager
async def _generator(plan: Plan, address: str) -> AsyncIterator[Generator]:
    arguments = (plan.way, address, str(plan.streams), str(plan.answer_tokens))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.load", *arguments),
        cwd=ROOT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        yield Generator(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
