"""The clients of `make bench-fairness`: one with long prompts at full load, and many with short chats."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import orjson

from benchmarks.http_stream import Connection, Refused

# With the blank before it, each is one token of the simulator.
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_RETRY_SECONDS = 0.5
# At the beginning of each prompt, so that no prefix cache has the rest.
_NEW_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Habit:
    """How one client behaves. `streams`: requests at the same time; `pause_seconds`: between an answer and
    the next request, at most.
    """

    name: str
    streams: int
    prompt_tokens: int
    answer_tokens: int
    pause_seconds: float = 0.0


@dataclass(slots=True)
class Answers:
    """Answers that ended, `ttft_seconds` of those that began, and their tokens. `asked`: when those were
    asked that have not begun.
    """

    ttft_seconds: list[float] = field(default_factory=list)
    ended: int = 0
    prefill_tokens: int = 0
    generated_tokens: int = 0
    refused: int = 0
    asked: list[float] = field(default_factory=list)

    def clear(self) -> None:
        """Begin anew, but for what has not begun."""
        self.ttft_seconds = []
        self.ended = self.prefill_tokens = self.generated_tokens = self.refused = 0

    def record_end(self, last: Mapping[str, int]) -> None:
        self.ended += 1
        self.prefill_tokens += last["prompt_eval_count"] - last.get("prompt_eval_cached_count", 0)
        self.generated_tokens += last["eval_count"]


@asynccontextmanager
async def running_clients(address: str, model: str, seed: str, *habits: Habit) -> AsyncIterator[Answers]:
    """Yield the answers of all of them together, while they go on. All leave at the end. With another `seed`
    they ask for something else, which no prefix cache has.
    """
    answers = Answers()
    clients = [_Client(address, model, habit, seed) for habit in habits]
    tasks = [
        asyncio.create_task(client.ask_again_and_again(number, answers))
        for client in clients
        for number in range(client.habit.streams)
    ]
    try:
        yield answers
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Client:
    """The end of its prompts is always the same, which costs this process less than to make a new one."""

    def __init__(self, address: str, model: str, habit: Habit, seed: str) -> None:
        self.habit = habit
        self._address = address
        self._model = model
        self._seed = f"{seed} {habit.name}"
        self._end = _text(random.Random(self._seed), habit.prompt_tokens - _NEW_TOKENS)

    async def ask_again_and_again(self, stream: int, answers: Answers) -> None:
        dice = random.Random(f"{self._seed} {stream}")
        while True:
            await asyncio.sleep(dice.uniform(0, self.habit.pause_seconds))
            body = {
                "model": self._model,
                "messages": [{"role": "user", "content": f"{_text(dice, _NEW_TOKENS)} {self._end}"}],
                "options": {"temperature": 0, "num_predict": self.habit.answer_tokens},
            }
            async with Connection(self._address, self.habit.name) as connection:
                with suppress(Refused):
                    await _ask(connection, body, answers)
                    continue
            answers.refused += 1
            await asyncio.sleep(_RETRY_SECONDS)


async def _ask(connection: Connection, body: Mapping[str, object], answers: Answers) -> None:
    asked, last = time.perf_counter(), b""
    answers.asked.append(asked)
    try:
        async for chunk in connection.chunks("/api/chat", body):
            if not last:
                answers.asked.remove(asked)
                answers.ttft_seconds.append(time.perf_counter() - asked)
            last = chunk
    finally:
        if not last:
            answers.asked.remove(asked)
    answers.record_end(orjson.loads(last.strip().rpartition(b"\n")[2]))


def _text(dice: random.Random, tokens: int) -> str:
    return " ".join("".join(dice.choices(_LETTERS, k=2)) for _ in range(tokens))
