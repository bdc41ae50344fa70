"""A window of steady load: CPU time of each process of a target per token that the client received."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import orjson

from benchmarks.client.dialects import Name
from benchmarks.measure import CpuMeter, cpu_use, resident_mb
from benchmarks.targets.base import Offer, Target
from tests.support.processes import ROOT

_SETTLE_SECONDS = 1.5
_BEGIN_SECONDS = 70.0
_ANSWER_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Window:
    """Rates are tokens per second; `us_per_token`: CPU by tier; `gap_*`: between two lines of a stream.

    `messages` are HTTP chunks with at least one line of text. `delivered`: the share of what was offered,
    None where that is as much as possible. `memory_mb`: resident, by tier, at the end.
    """

    target: str
    dialect: str
    streams: int
    seconds: float
    received: float
    delivered: float | None
    us_per_token: Mapping[str, float]
    tokens_per_message: float
    tokens_per_line: float
    gap_p50_ms: float
    gap_p99_ms: float
    memory_mb: Mapping[str, float]
    client_cores: float
    machine_cores: float

    @property
    def us(self) -> float:
        """All tiers together."""
        return sum(self.us_per_token.values())


class Generator:
    """A benchmarks.generator process, seen from the benchmark."""

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


async def measure_window(
    target: Target, offer: Offer, seconds: float, dialect: Name = "chat", turns: int = 1
) -> Window:
    """`turns`: number of messages in each stream's conversation."""
    async with _generator(target.address, offer, dialect, turns) as generator:
        await generator.begun()
        await asyncio.sleep(_SETTLE_SECONDS)
        window = await observe(target, offer, generator, seconds, dialect)
    await target.until_idle()
    return window


@asynccontextmanager
async def running_load(target: Target, offer: Offer, dialect: Name = "chat") -> AsyncIterator[Generator]:
    """Continuous load, for consecutive windows."""
    async with _generator(target.address, offer, dialect, 1) as generator:
        await generator.begun()
        yield generator
    await target.until_idle()


async def observe(target: Target, offer: Offer, generator: Generator, seconds: float, dialect: str) -> Window:
    meter = CpuMeter({**target.pids, "client": generator.pid})
    first, cpu_first = await generator.counts(), meter.read()
    await asyncio.sleep(seconds)
    last, cpu_last = await generator.counts(), meter.read()
    use = cpu_use(cpu_first, cpu_last)
    took = {name: last[name] - first[name] for name in ("at", "tokens", "messages", "lines")}
    if not took["tokens"]:
        raise RuntimeError(f"{target.name} delivered nothing in {seconds:g} s")
    received = took["tokens"] / took["at"]
    offered = offer.streams * offer.tokens_per_second
    return Window(
        target=target.name,
        dialect=dialect,
        streams=offer.streams,
        seconds=took["at"],
        received=received,
        delivered=received / offered if offered else None,
        us_per_token={tier: 1e6 * use.by_name[tier] / received for tier in target.pids},
        tokens_per_message=took["tokens"] / took["messages"],
        tokens_per_line=took["tokens"] / took["lines"],
        gap_p50_ms=1000 * last["gap_p50"],
        gap_p99_ms=1000 * last["gap_p99"],
        memory_mb={tier: resident_mb(pid) for tier, pid in target.pids.items()},
        client_cores=use.by_name["client"],
        machine_cores=use.machine,
    )


@asynccontextmanager
async def _generator(address: str, offer: Offer, dialect: Name, turns: int) -> AsyncIterator[Generator]:
    arguments = (address, dialect, str(offer.streams), str(offer.tokens), str(turns))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "benchmarks.generator", *arguments),
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
