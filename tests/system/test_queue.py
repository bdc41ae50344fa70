"""The frontend's queue as clients see it: heartbeats, and fairness between clients."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from pathlib import Path

import httpx
import ollama

from frontend.routing.scheduling_headers import PRIORITY
from tests.chaos.clients import Seen, body, stream
from tests.chaos.fleet import MODEL, Fleet, running_fleet
from tests.support.waiting import until

_DEADLINE_SECONDS = 20.0
_ONE_AT_A_TIME = ("--sim-running-limit", "1", "--sim-decode-step-base-ms", "10")
_SLOWLY = ("--sim-running-limit", "1", "--sim-decode-step-base-ms", "25")
_HEARTBEATS = ("--heartbeat-seconds", "0.1")


async def test_heartbeats_keep_a_waiting_stream_alive_and_change_no_answer(tmp_path: Path) -> None:
    with running_fleet(tmp_path, 1, worker_flags=_ONE_AT_A_TIME, frontend_flags=_HEARTBEATS) as fleet:
        async with ollama.AsyncClient(host=fleet.url()) as client:
            asked = [f"question {number}" for number in range(5)]
            alone = [await _streamed(client, prompt) for prompt in asked]
            together = await asyncio.gather(*(_streamed(client, prompt) for prompt in asked))

    assert ["".join(pieces) for pieces in together] == ["".join(pieces) for pieces in alone]
    # The last one waits for four answers of 0.4 s.
    assert max(pieces.count("") for pieces in together) >= 8


async def _streamed(client: ollama.AsyncClient, prompt: str) -> list[str]:
    messages = [{"role": "user", "content": prompt}]
    options = {"temperature": 0, "num_predict": 40}
    return [
        part.message.content or ""
        async for part in await client.chat(MODEL, messages, stream=True, options=options)
    ]


async def test_a_lower_priority_queues_behind_later_requests(tmp_path: Path) -> None:
    ended: list[str] = []
    with running_fleet(tmp_path, 1, worker_flags=_SLOWLY) as fleet:
        async with httpx.AsyncClient(base_url=fleet.url()) as http:
            tasks = [asyncio.create_task(_asked(fleet, "first", 0, ended)) for _ in range(3)]
            await until(lambda: fleet.running(0) == 2, _DEADLINE_SECONDS, "the worker is full")
            for waiting, (name, priority) in enumerate((("batch", -5), ("later", 0), ("pushy", 50)), start=2):
                tasks.append(asyncio.create_task(_asked(fleet, name, priority, ended)))
                await until(partial(_waits, http, waiting), _DEADLINE_SECONDS, "it waits")
            seen = await asyncio.gather(*tasks)

    assert all(each.is_whole for each in seen)
    assert ended[-3:] == ["later", "pushy", "batch"]


async def _asked(fleet: Fleet, name: str, priority: int, ended: list[str]) -> Seen:
    headers = {PRIORITY: str(priority)}
    async with httpx.AsyncClient(base_url=fleet.url(), timeout=60, headers=headers) as http:
        # The first ones last until all the others wait.
        seen = await stream(http, body(name, 220 if name == "first" else 20))
    ended.append(name)
    return seen


async def _waits(http: httpx.AsyncClient, number: int) -> bool:
    metrics = (await http.get("/metrics")).text
    found = re.search(r"^drover_frontend_waiting_requests{.*} (.*)$", metrics, re.MULTILINE)
    return found is not None and float(found[1]) == number
