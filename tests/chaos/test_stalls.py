"""A request that stops its engine: one worker of three stalls, and all other requests are served. And a
worker that is the only one of its model: killed, it is waited for.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.chaos.clients import Crowd, body
from tests.chaos.fleet import Fleet, running_fleet
from tests.chaos.test_workers_die import SLOW
from tests.support.waiting import until

_DEADLINE_SECONDS = 60.0
_HANG = {"hang_ms": 3_600_000}
_SCRIPT = [
    {"match": "#hangs at once", "events": [_HANG]},
    {"match": "#hangs later", "events": [{"text": "well, "}, _HANG]},
    # The model can call tools.
    {"match": "#calls", "events": [{"tool_call": {"name": "f", "arguments": {}}}]},
]
_TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    script = tmp_path / "script.json"
    script.write_text(json.dumps(_SCRIPT))
    flags = (*SLOW, "--sim-script", str(script))
    with running_fleet(
        tmp_path, workers=3, worker_flags=flags, frontend_flags=("--stall-seconds", "2")
    ) as running:
        yield running


@pytest.mark.parametrize(
    "culprit",
    [
        {**body("#hangs at once", 50), "stream": True},
        {**body("#hangs later", 50), "tools": [_TOOL]},
    ],
    ids=["in prefill", "with tools, in decode"],
)
async def test_a_request_stalls_one_worker_of_three_only(fleet: Fleet, culprit: dict[str, object]) -> None:
    crowd = Crowd(fleet.url())
    # They take 15 s: longer than it takes to notice.
    crowd.send([body(f"story {number}", 600) for number in range(12)])
    await until(lambda: all(fleet.running(n) for n in range(3)), _DEADLINE_SECONDS, "all have streams")
    async with httpx.AsyncClient(base_url=fleet.url(), timeout=_DEADLINE_SECONDS) as client:
        answer = await client.post("/api/chat", json=culprit)
    assert "may be the cause" in answer.text
    assert answer.status_code == (200 if "tools" in culprit else 422)

    seen = await crowd.all_seen()
    assert [each.error for each in seen if not each.is_whole] == []
    log = fleet.frontends[0].log_text()
    assert log.count("worker stopped under its requests") == 1
    later = Crowd(fleet.url())
    later.send([body(f"later {number}", 20) for number in range(12)])
    assert all(each.is_whole for each in await later.all_seen())


@pytest.mark.parametrize("stream", [True, False])
async def test_the_only_worker_is_waited_for(tmp_path: Path, stream: bool) -> None:
    """Killed during the decode of one request and the prefill of another."""
    flags = (*SLOW, "--sim-prefill-tokens-per-second", "400")
    with running_fleet(
        tmp_path, workers=1, worker_flags=flags, frontend_flags=("--move-wait-seconds", "60")
    ) as alone:
        requests = [
            {**body("a story", 80), "stream": stream},
            {**body("a long prompt " * 200, 20), "stream": stream},
        ]
        undisturbed = Crowd(alone.url())
        undisturbed.send(requests)
        expected = await undisturbed.all_seen()

        crowd = Crowd(alone.url())
        crowd.send([{**body("another story", 80), "stream": stream}, requests[0]])
        await until(lambda: alone.running(0) == 2, _DEADLINE_SECONDS, "both run")
        await asyncio.sleep(0.8)
        crowd.send([requests[1]])
        await until(lambda: alone.running(0) == 3, _DEADLINE_SECONDS, "the third is in prefill")
        alone.workers[0].signal(signal.SIGKILL)
        alone.workers[0].wait()
        await asyncio.to_thread(alone.restart_worker, 0)
        first, second, third = await crowd.all_seen()

    assert [each.error for each in (first, second, third)] == ["", "", ""]
    assert first.is_whole
    assert (second.content, third.content) == (expected[0].content, expected[1].content)


async def test_the_only_worker_that_stays_away_is_a_503(tmp_path: Path) -> None:
    with running_fleet(
        tmp_path, workers=1, worker_flags=SLOW, frontend_flags=("--move-wait-seconds", "1")
    ) as alone:
        async with httpx.AsyncClient(base_url=alone.url(), timeout=_DEADLINE_SECONDS) as client:
            asking = asyncio.create_task(client.post("/api/chat", json={**body("x", 80), "stream": False}))
            await until(lambda: alone.running(0) == 1, _DEADLINE_SECONDS, "it runs")
            alone.workers[0].signal(signal.SIGKILL)
            answer = await asking

    assert answer.status_code == 503
    assert 5 <= int(answer.headers["retry-after"]) <= 10
