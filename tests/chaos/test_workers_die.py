"""Killing, stopping and draining workers under load: every response is the same as without."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.chaos.clients import Crowd, Seen, body
from tests.chaos.fleet import MODEL, Fleet, ask, is_idle, running_fleet
from tests.support.waiting import until

STREAMS = 24
TOKENS = 100
# 40 tokens a second, and answers that end at their limit: they take two and a half seconds.
SLOW = (
    "--sim-decode-step-base-ms",
    "25",
    "--sim-decode-step-per-running-ms",
    "0",
    "--sim-answer-tokens-min",
    "5000",
    "--sim-answer-tokens-max",
    "5000",
)
_SLOTS_SECONDS = 12.0
# Three seconds, of which some are over when the worker dies.
_CACHED_TOKENS = 120
# Lines of the stream, every second of which is empty.
_BEFORE_DEATH = 20
_DEADLINE_SECONDS = 20.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet"), workers=3, worker_flags=SLOW) as running:
        yield running


def _requests(**options: object) -> list[dict[str, object]]:
    return [body(f"story {number}", TOKENS, **options) for number in range(STREAMS)]


@pytest.fixture(scope="module")
def expected(fleet: Fleet) -> list[Seen]:
    """Responses of an undisturbed fleet."""

    async def undisturbed() -> list[Seen]:
        crowd = Crowd(fleet.url())
        crowd.send(_requests())
        return await crowd.all_seen()

    seen = asyncio.run(undisturbed())
    assert all(each.is_whole for each in seen), seen
    return seen


async def _begun(crowd: Crowd, fleet: Fleet, victim: int) -> None:
    """The victim has its share of the requests, and has sent part of the responses."""
    await until(lambda: fleet.running(victim) >= STREAMS // 6, _DEADLINE_SECONDS, "the victim has work")
    await asyncio.sleep(0.6)


def _same(seen: list[Seen], expected: list[Seen]) -> None:
    for one, other in zip(seen, expected, strict=True):
        assert one.error == ""
        assert one.content == other.content
        assert one.done is not None
        assert other.done is not None
        for count in ("prompt_eval_count", "eval_count", "done_reason"):
            assert one.done[count] == other.done[count]


async def test_a_killed_worker_loses_no_request(fleet: Fleet, expected: list[Seen]) -> None:
    crowd = Crowd(fleet.url())
    crowd.send(_requests())
    await _begun(crowd, fleet, 0)
    fleet.workers[0].signal(signal.SIGKILL)
    seen = await crowd.all_seen()

    _same(seen, expected)
    assert max(each.longest_gap_seconds for each in seen) < 3.0
    await until(lambda: is_idle(fleet, [1, 2]), _DEADLINE_SECONDS, "no slot is left behind")
    assert '"failovers"' in fleet.frontends[0].log_text()
    fleet.restart_worker(0)
    await until(lambda: _joined(fleet) >= 4, _DEADLINE_SECONDS, "it is back")


def _has_joined(fleet: Fleet, before: int) -> bool:
    return _joined(fleet) > before


def _has_work(fleet: Fleet, worker: int) -> bool:
    return fleet.running(worker) > 0


def _joined(fleet: Fleet) -> int:
    return fleet.frontends[0].log_text().count("worker joined")


async def test_a_stopped_worker_loses_no_request_and_frees_what_it_had(
    fleet: Fleet, expected: list[Seen]
) -> None:
    joined = _joined(fleet)
    crowd = Crowd(fleet.url())
    crowd.send(_requests())
    await _begun(crowd, fleet, 1)
    fleet.workers[1].signal(signal.SIGSTOP)
    try:
        seen = await crowd.all_seen()
    finally:
        fleet.workers[1].signal(signal.SIGCONT)

    _same(seen, expected)
    assert max(each.longest_gap_seconds for each in seen) < 10.5
    await until(lambda: is_idle(fleet, [0, 1, 2]), _SLOTS_SECONDS, "its orphans are freed")
    await until(lambda: _joined(fleet) > joined, _DEADLINE_SECONDS, "it is back")


async def test_streams_of_a_draining_worker_fail_over(
    tmp_path: Path, expected: list[Seen], fleet: Fleet
) -> None:
    flags = (*SLOW, "--drain-grace-seconds", "0.3")
    with running_fleet(tmp_path, workers=2, worker_flags=flags) as small:
        crowd = Crowd(small.url())
        crowd.send(_requests())
        await _begun(crowd, small, 0)
        small.workers[0].signal(signal.SIGTERM)
        seen = await crowd.all_seen()
        assert small.workers[0].wait() == 0

    _same(seen, expected)


async def test_a_rolling_restart_loses_nothing(tmp_path: Path) -> None:
    with running_fleet(tmp_path, workers=2, worker_flags=(*SLOW, "--drain-grace-seconds", "0.5")) as small:
        crowd = Crowd(small.url())
        over = asyncio.Event()

        async def keep_asking() -> None:
            number = 0
            while not over.is_set():
                crowd.send([body(f"question {number}", 40)])
                number += 1
                await asyncio.sleep(0.1)

        asking = asyncio.create_task(keep_asking())
        for number in range(2):
            joined = _joined(small)
            small.workers[number].signal(signal.SIGTERM)
            assert await asyncio.to_thread(small.workers[number].wait) == 0
            await asyncio.to_thread(small.restart_worker, number)
            await until(partial(_has_joined, small, joined), _DEADLINE_SECONDS, "it is back")
        over.set()
        await asking
        seen = await crowd.all_seen()

    assert len(seen) > 10
    assert [each.error for each in seen if not each.is_whole] == []


async def test_a_sampled_answer_stays_one_answer(fleet: Fleet) -> None:
    crowd = Crowd(fleet.url())
    crowd.send(_requests(temperature=1))
    await _begun(crowd, fleet, 2)
    fleet.workers[2].signal(signal.SIGKILL)
    seen = await crowd.all_seen()
    fleet.restart_worker(2)

    for each in seen:
        assert each.is_whole, each
        assert each.done is not None
        assert each.done["eval_count"] == TOKENS
        assert "\N{REPLACEMENT CHARACTER}" not in each.content[:-1]


async def test_a_frontend_that_is_killed_frees_its_slots_and_disturbs_no_other(tmp_path: Path) -> None:
    with running_fleet(tmp_path, workers=2, frontends=2, worker_flags=SLOW) as small:
        doomed, other = Crowd(small.url(0)), Crowd(small.url(1))
        doomed.send([body(f"a{number}", 4000) for number in range(8)])
        other.send([body(f"b{number}", TOKENS) for number in range(8)])
        await until(lambda: small.running(0) + small.running(1) == 16, _DEADLINE_SECONDS, "all of them run")
        small.frontends[0].signal(signal.SIGKILL)
        took = await until(
            lambda: small.running(0) + small.running(1) <= 8, _DEADLINE_SECONDS, "its slots are free"
        )
        lost, seen = await doomed.all_seen(), await other.all_seen()

    assert took < 2.0
    assert all(each.error for each in lost)
    assert all(each.is_whole for each in seen)


async def test_tokens_cached_by_the_first_worker_are_counted(tmp_path: Path) -> None:
    """With a request that its worker has cached and that fails over.

    Of two workers the prefix policy keeps the request at the first even if its report from before still
    counts a request (bounded loads); of three it would not.
    """
    request = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "a long story " * 100}],
        "temperature": 0,
        "max_tokens": _CACHED_TOKENS,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    with running_fleet(tmp_path, workers=2, worker_flags=SLOW) as small:
        async with httpx.AsyncClient(base_url=small.url(), timeout=60, trust_env=False) as http:
            await http.post("/v1/chat/completions", json={**request, "max_tokens": 1})
            async with http.stream("POST", "/v1/chat/completions", json=request) as answer:
                lines = answer.aiter_lines()
                begun = [await anext(lines) for _ in range(_BEFORE_DEATH)]
                (victim,) = [number for number in range(2) if small.running(number)]
                small.workers[victim].signal(signal.SIGKILL)
                rest = [line async for line in lines]
        # The line is written after the client has the response.
        await until(
            lambda: '"failovers":1' in small.frontends[0].log_text(), _DEADLINE_SECONDS, "it is logged"
        )

    (usage,) = [
        chunk["usage"]
        for line in begun + rest
        if line.startswith("data: {") and (chunk := json.loads(line.removeprefix("data: "))).get("usage")
    ]
    assert usage["completion_tokens"] == _CACHED_TOKENS
    assert usage["prompt_tokens_details"]["cached_tokens"] > 500


_EVENTS = [
    {"thinking": "Hm, 🐑 "},
    {"thinking": "let me see. ", "repeat": 20},
    {"text": "The répondre 世界 ", "repeat": 20},
    {"tool_call": {"name": "look", "arguments": {"where": "the hill"}}},
    {"text": "and so on ", "repeat": 20},
    {"tool_call": {"name": "count", "arguments": {"what": ["sheep", "🐑"]}}},
]


async def test_thinking_and_tool_calls_survive_a_failover(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(json.dumps([{"match": "#go", "events": _EVENTS}]))
    flags = (*SLOW, "--sim-script", str(script))
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    request = {**body("#go", 1000), "tools": [tool], "think": True}
    with running_fleet(tmp_path, workers=2, worker_flags=flags) as small:
        whole = ask(small.url(), {**request, "stream": False})["message"]
        assert isinstance(whole, dict)
        for victim, seconds in ((0, 0.4), (1, 1.2), (0, 2.0)):
            joined = _joined(small)
            crowd = Crowd(small.url())
            crowd.send([request] * 6)
            await until(partial(_has_work, small, victim), _DEADLINE_SECONDS, "it has work")
            await asyncio.sleep(seconds)
            small.workers[victim].signal(signal.SIGKILL)
            for each in await crowd.all_seen():
                assert each.is_whole, each
                assert each.thinking == whole["thinking"]
                assert each.content == whole["content"]
                assert _functions(each.calls) == _functions(whole["tool_calls"])
            await asyncio.to_thread(small.restart_worker, victim)
            await until(partial(_has_joined, small, joined), _DEADLINE_SECONDS, "it is back")


def _functions(calls: list[object]) -> list[object]:
    return [call["function"] for call in calls if isinstance(call, dict)]


async def test_a_request_killed_in_prefill_is_retried(tmp_path: Path) -> None:
    flags = (*SLOW, "--sim-prefill-tokens-per-second", "400")
    prompt = "a long prompt " * 100
    with running_fleet(tmp_path, workers=2, worker_flags=flags) as small:
        crowd = Crowd(small.url())
        crowd.send([body(f"{number} {prompt}", 20) for number in range(6)])
        await until(lambda: small.running(0) > 0, _DEADLINE_SECONDS, "it prefills")
        small.workers[0].signal(signal.SIGKILL)
        seen = await crowd.all_seen()

    assert all(each.is_whole for each in seen), seen


async def test_answers_that_are_not_streamed_survive_too(fleet: Fleet, expected: list[Seen]) -> None:
    requests = [{**request, "stream": False} for request in _requests()]
    crowd = Crowd(fleet.url())
    crowd.send(requests)
    await _begun(crowd, fleet, 0)
    fleet.workers[0].signal(signal.SIGKILL)
    seen = await crowd.all_seen()
    fleet.restart_worker(0)

    assert [each.content for each in seen] == [each.content for each in expected]
