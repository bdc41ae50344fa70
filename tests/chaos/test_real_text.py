"""The real SmolLM2 on llama.cpp, which cannot resume: the response is regenerated without a difference."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from tests.chaos.clients import Crowd, Seen, body
from tests.chaos.fleet import running_fleet
from tests.support.waiting import until

_REAL = ("--engine", "llamacpp", "--name", "sim", "--context-length", "1024", "--slots", "4")


def _requests() -> list[dict[str, object]]:
    return [body(f"Tell me a story about {what}.", 60) for what in ("the sea", "a sheep", "a town")]


async def test_a_response_that_cannot_be_continued_is_regenerated(tmp_path: Path) -> None:
    with running_fleet(tmp_path, workers=2, engine_flags=_REAL) as fleet:
        undisturbed = Crowd(fleet.url())
        undisturbed.send(_requests())
        expected = await undisturbed.all_seen()
        crowd = Crowd(fleet.url())
        crowd.send(_requests())
        victims = [number for number in range(2) if await _gets_work(fleet.running, number)]
        await asyncio.sleep(0.2)
        fleet.workers[victims[0]].signal(signal.SIGKILL)
        seen = await crowd.all_seen()

    assert [_delivered(each) for each in seen] == [_delivered(each) for each in expected]


def _delivered(seen: Seen) -> tuple[str, str, object]:
    assert seen.done is not None
    return seen.error, seen.content, seen.done["eval_count"]


async def _gets_work(running: object, number: int) -> bool:
    assert callable(running)
    try:
        await until(lambda: running(number) > 0, 1.0, "it has work")
    except AssertionError:
        return False
    return True
