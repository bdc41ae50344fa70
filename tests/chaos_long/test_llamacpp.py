"""Real text of SmolLM2 on llama.cpp, also as JSON: what cannot be resumed is made again and compared."""

from __future__ import annotations

import asyncio
import random
import signal
from pathlib import Path

from tests.chaos.clients import body
from tests.chaos.fleet import MODEL, Fleet, joins, running_fleet, until_joins
from tests.chaos_long.tally import Tally, failovers
from tests.chaos_long.traffic import Case, Traffic, learn
from tests.support.waiting import until

_REAL = ("--engine", "llamacpp", "--name", MODEL, "--context-length", "1024", "--slots", "4")
_SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "sheep": {"type": "array", "items": {"type": "string"}}},
    "required": ["name", "sheep"],
}
_ROUNDS = 3
_DEADLINE_SECONDS = 60.0


def _cases() -> list[Case]:
    texts = [
        Case(what, "/api/chat", body(f"Tell me a story about {what}.", 60)) for what in ("the sea", "a café")
    ]
    json_body = body("Describe a shepherd and his flock.", 60)
    formats = [
        Case("schema", "/api/chat", {**json_body, "format": _SCHEMA}),
        Case("whole schema", "/api/chat", {**json_body, "format": _SCHEMA, "stream": False}),
        Case("json", "/api/chat", {**json_body, "format": "json"}),
    ]
    return [*texts, *formats]


async def test_real_text_survives_its_workers(tmp_path: Path, tally: Tally, dice: random.Random) -> None:
    with running_fleet(tmp_path, workers=2, engine_flags=_REAL) as fleet:
        known = _cases()
        await learn(fleet.url(), known)
        traffic = Traffic([fleet.url()], known, dice, tally)
        traffic.start(3)
        for number in [victim % 2 for victim in range(2 * _ROUNDS)]:
            await _kill_at_work(fleet, number, dice.uniform(0.1, 1.5))
        await traffic.stop()
        tally.failovers = failovers(tmp_path)

    tally.check()
    assert tally.failovers > 0


async def _kill_at_work(fleet: Fleet, number: int, seconds: float) -> None:
    await until(lambda: fleet.running(number) > 0, _DEADLINE_SECONDS, "it has work")
    await asyncio.sleep(seconds)
    joined = joins(fleet.frontends[0])
    fleet.workers[number].signal(signal.SIGKILL)
    await asyncio.to_thread(fleet.restart_worker, number)
    await until_joins(fleet.frontends[0], joined + 1, _DEADLINE_SECONDS)
