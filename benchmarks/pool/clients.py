"""Clients that ask, wait for the whole answer, and ask again."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx

from benchmarks.pool.workload import Workload
from benchmarks.table import progress

_NS = 1e9
_LONGEST_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Answer:
    """Times are of time.monotonic. `wait`: all of the request's time in which its tokens were not computed.
    `ahead`: requests for the same model that had been asked before and were not answered.
    """

    model: str
    asked: float
    ended: float
    wait: float
    ahead: int


@dataclass(eq=False)
class Asked:
    """What all clients have asked in one run."""

    workload: Workload
    answers: list[Answer] = field(default_factory=list)
    unanswered: list[Answer] = field(default_factory=list)
    """Until the end: a request that waits for ever must not be left out."""
    failed: int = 0
    open: Counter[str] = field(default_factory=Counter)


Send = Callable[[str], Awaitable[httpx.Response]]
"""Sends a request for a model, and returns its whole answer."""


class Sender:
    """Sends requests to one frontend."""

    def __init__(self, address: str, workload: Workload) -> None:
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.AsyncClient(
            base_url=f"http://{address}", timeout=_LONGEST_SECONDS, limits=limits
        )
        self._workload = workload
        self._random = random.Random(1)

    async def __call__(self, model: str) -> httpx.Response:
        body = {
            "model": model,
            "prompt": f"Question {self._random.random()}",
            "stream": False,
            "options": {"num_predict": self._workload.tokens},
        }
        return await self._client.post("/api/generate", json=body)

    async def close(self) -> None:
        await self._client.aclose()


async def ask_until(asked: Asked, send: Send, clients: int, seconds: float) -> None:
    """What is not answered then is given up: its wait counts, but no answer."""
    until = time.monotonic() + seconds
    tasks = [
        asyncio.create_task(_client(asked, send, number), name=f"client {number}")
        for number in range(clients)
    ]
    done, _ = await asyncio.wait(tasks, timeout=until - time.monotonic())
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        task.result()


async def _client(asked: Asked, send: Send, number: int) -> None:
    seeded, workload = random.Random(number), asked.workload
    while True:
        model = seeded.choices(workload.names, workload.weights)[0]
        ahead, began = asked.open[model], time.monotonic()
        asked.open[model] += 1
        try:
            response = await send(model)
        except asyncio.CancelledError:
            now = time.monotonic()
            asked.unanswered.append(Answer(model, began, now, now - began, ahead))
            raise
        finally:
            asked.open[model] -= 1
        ended = time.monotonic()
        if response.status_code != 200:
            progress(f"failed: {response.status_code} {response.text[:200]}")
            asked.failed += 1
            continue
        answer = response.json()
        computed = (answer["prompt_eval_duration"] + answer["eval_duration"]) / _NS
        asked.answers.append(Answer(model, began, ended, ended - began - computed, ahead))
