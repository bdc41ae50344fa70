"""Helpers of the simulator's tests. Every wait has a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.base import Engine
from engine_worker.engines.simulator import SimulatorConfig, SimulatorEngine
from tests.support.events import events_of

DEADLINE_SECONDS = 30.0

# Steps take no time.
FAST = SimulatorConfig(prefill_tokens_per_second=1e9, decode_step_base_ms=0, decode_step_per_running_ms=0)
# The first step ends after the test.
STILL = replace(FAST, decode_step_base_ms=1e6)

T = TypeVar("T")


@dataclass(frozen=True)
class Answer:
    events: list[pb.GenerateEvent]

    @property
    def deltas(self) -> list[pb.Delta]:
        return [delta for event in self.events for delta in event.deltas]

    @property
    def text(self) -> str:
        return "".join(delta.content for delta in self.deltas)

    @property
    def thinking(self) -> str:
        return "".join(delta.thinking for delta in self.deltas)

    @property
    def token_ids(self) -> list[int]:
        return [token_id for delta in self.deltas for token_id in delta.token_ids]

    @property
    def logprobs(self) -> list[pb.TokenLogprob]:
        return [logprob for delta in self.deltas for logprob in delta.logprobs]

    @property
    def calls(self) -> list[pb.ToolCallDelta]:
        return [call for delta in self.deltas for call in delta.tool_calls]

    @property
    def started(self) -> pb.Started:
        return self.events[0].started

    @property
    def done(self) -> pb.Done:
        assert [event.HasField("done") for event in self.events] == [False] * (len(self.events) - 1) + [True]
        return self.events[-1].done


@asynccontextmanager
async def running(config: SimulatorConfig) -> AsyncIterator[SimulatorEngine]:
    engine = SimulatorEngine(["sim:latest"], config)
    await engine.start()
    try:
        yield engine
    finally:
        await before_deadline(engine.stop())


def prompt_request(
    text: str = "Where are the sheep?", **sampling: float | int | bool | Sequence[str]
) -> pb.GenerateRequest:
    request = pb.GenerateRequest(prompt=pb.PromptInput(text=text))
    for name, value in sampling.items():
        if isinstance(value, Sequence):
            request.sampling.stop.extend(value)
        else:
            setattr(request.sampling, name, value)
    return request


def raw_request(text: str) -> pb.GenerateRequest:
    return pb.GenerateRequest(raw=text)


async def answer(engine: Engine, request: pb.GenerateRequest) -> Answer:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return Answer([event async for event in events_of(engine, request)])


async def before_deadline(awaited: Coroutine[object, object, T]) -> T:
    async with asyncio.timeout(DEADLINE_SECONDS):
        return await awaited


async def until(condition: Callable[[], bool]) -> None:
    """Poll: the condition is about counts, for which there is no event."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


class Client:
    """Reads one answer in a task."""

    def __init__(self, engine: Engine, request: pb.GenerateRequest) -> None:
        self.stream: AsyncGenerator[pb.GenerateEvent, None] = events_of(engine, request)
        self.events: list[pb.GenerateEvent] = []
        self.task = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for event in self.stream:
            self.events.append(event)

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task], timeout=DEADLINE_SECONDS)
        assert self.task.cancelled()

    async def outcome(self) -> BaseException | None:
        await asyncio.wait([self.task], timeout=DEADLINE_SECONDS)
        return self.task.exception()
