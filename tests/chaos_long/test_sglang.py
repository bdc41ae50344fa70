"""The real SGLang engine, twice, with the real SmolLM2: one of them dies or drains in mid-stream."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import psutil
import pytest

from tests.chaos.clients import Crowd, Seen, body
from tests.chaos.fleet import MODEL, Fleet, joins, running_fleet, until_joins
from tests.chaos_long.tally import Tally, failovers
from tests.support.processes import SGLANG_PYTHON, SMALL_CACHE
from tests.support.waiting import until

_TOKENS = 80
_DEADLINE_SECONDS = 60.0
_FEW_CHARACTERS = 40
_SMOL = (
    *("--engine", "sglang", "--name", MODEL, "--context-length", "2048", "--slots", "4"),
    *("--threads", "1", "--drain-grace-seconds", "1", SMALL_CACHE),
)
# One at a time, so that both workers compute what the undisturbed answer was computed from.
_PROMPTS = ("Tell me a story about the sea.", "Write a letter to a friend about a café in Zürich.")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    if SGLANG_PYTHON not in os.environ:
        pytest.fail(f"{SGLANG_PYTHON} is not set; make chaos sets it", pytrace=False)
    with running_fleet(tmp_path_factory.mktemp("sglang"), 2, engine_flags=_SMOL) as running:
        yield running


@pytest.fixture(scope="module")
def expected(fleet: Fleet) -> list[Seen]:
    async def undisturbed() -> list[Seen]:
        answers = []
        for prompt in _PROMPTS:
            crowd = Crowd(fleet.url())
            crowd.send([body(prompt, _TOKENS)])
            answers += await crowd.all_seen()
        return answers

    seen = asyncio.run(undisturbed())
    assert all(each.is_whole for each in seen), seen
    return seen


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "drained"])
@pytest.mark.parametrize("which", range(len(_PROMPTS)))
async def test_a_stream_of_sglang_continues(
    fleet: Fleet, expected: list[Seen], tally: Tally, number: signal.Signals, which: int
) -> None:
    failovers_before = failovers(fleet.folder)
    crowd = Crowd(fleet.url())
    crowd.send([body(_PROMPTS[which], _TOKENS)])
    await until(lambda: _victim(fleet) is not None, _DEADLINE_SECONDS, "one of them has it")
    victim = _victim(fleet)
    assert victim is not None
    await asyncio.sleep(2.0)
    children = psutil.Process(fleet.workers[victim].pid).children(recursive=True)
    fleet.workers[victim].signal(number)
    (seen,) = await crowd.all_seen()
    status = await asyncio.to_thread(fleet.workers[victim].wait, _DEADLINE_SECONDS)
    await until(
        lambda: not any(child.is_running() for child in children), _DEADLINE_SECONDS, "its processes are gone"
    )
    joined = joins(fleet.frontends[0])
    await asyncio.to_thread(fleet.restart_worker, victim)
    await until_joins(fleet.frontends[0], joined + 1, _DEADLINE_SECONDS)
    tally.saw(_PROMPTS[which], seen, expected[which])
    tally.failovers = failovers(fleet.folder) - failovers_before

    tally.check()
    assert tally.failovers == 1, "it was over before its worker was"
    assert status == (0 if number == signal.SIGTERM else -number)
    assert len(seen.content) > _FEW_CHARACTERS


def _victim(fleet: Fleet) -> int | None:
    return next((number for number in range(2) if fleet.running(number)), None)
