"""The judge of virtual models over both tiers: scripted scores, and what is decided without them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator

import httpx
import ollama
import pytest

from tests.support.browser import browser
from tests.support.engine_client import engine_client
from tests.support.processes import Stack
from tests.support.waiting import until
from tests.system.routers import MODEL, PROBABILITY, PROMPTS, REASON, Body, Routers, ask, routers, went


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Routers]:
    with routers(tmp_path_factory.mktemp("routers")) as started:
        yield started


@pytest.mark.parametrize(("prompt", "side"), PROMPTS.items())
def test_the_judge_sends_each_prompt_to_its_side(running: Routers, prompt: str, side: str) -> None:
    assert went(ask(running, f"{prompt}?")) == (side, "judge")
    assert went(ask(running, f"{prompt}?")) == (side, "judge (kept)")


def test_the_judges_probability_is_in_headers_and_log(running: Routers) -> None:
    for reason in ("judge", "judge (kept)"):
        answer = ask(running, "#big with a probability")
        assert went(answer) == ("complex", reason)
        assert answer.headers[PROBABILITY] == "0.8889"
    lines = running.near.log.read_text().splitlines()
    judged = [json.loads(line) for line in lines if "route_label_mass" in line]
    assert (0.8889, 0.9) in {(line["route_probability"], line["route_label_mass"]) for line in judged}
    assert PROBABILITY not in ask(running, "#big", "auto:remote").headers


def test_below_the_threshold_the_default_is_taken(running: Routers) -> None:
    answer = ask(running, "#unsure of the careful", "careful")
    assert went(answer) == ("complex", "judge unsure")
    assert answer.headers[PROBABILITY] == "0.5500"
    assert went(ask(running, "#unsure of the other", "auto")) == ("simple", "judge")


def test_a_virtual_model_may_have_many_sides(running: Routers) -> None:
    chosen = ask(running, "#law", "kinds")
    assert (chosen.headers[MODEL], chosen.headers[REASON]) == ("judge:latest", "judge")
    assert chosen.headers[PROBABILITY] == "0.6667"
    assert went(ask(running, "#law", "kinds:code")) == ("simple", "forced")
    assert went(ask(running, "#law", "kinds", options={"route": "chat"})) == ("complex", "forced")
    assert went(ask(running, "#broken #law", "kinds")) == ("complex", "judge failed")
    refused = ask(running, "hello", "kinds", options={"route": "local"})
    assert (refused.status_code, "code, chat, law" in refused.text) == (400, True)
    with ollama.Client(host=running.url) as client:
        info = client.show("kinds").modelinfo
        assert info is not None
        shown = [info[f"smart-router.{label}"] for label in ("code", "chat", "law")]
        assert shown == ["small:latest", "big:latest", "judge:latest"]


def test_a_third_side_answers_when_two_fail(running: Routers) -> None:
    answer = ask(running, "#early-small #early-large", "kinds")
    assert answer.status_code == 200, answer.text
    assert (answer.headers[MODEL], answer.headers[REASON]) == ("judge:latest", "fallback after judge")


async def test_choices_are_judged_once(running: Routers) -> None:
    body: Body = {"model": "auto", "messages": [{"role": "user", "content": ""}]}

    async def judged_tokens(content: str, choices: int) -> int:
        async with engine_client(running.judge.address) as engine:
            before = (await engine.load()).prefill_tokens_done
            body["messages"][0]["content"], body["n"] = content, choices
            answer = await client.post("/v1/chat/completions", json=body)
            said = [each["message"]["content"] for each in answer.json()["choices"]]
            assert said == ["large says"] * choices
            return (await engine.load()).prefill_tokens_done - before

    async with httpx.AsyncClient(base_url=running.url, timeout=30) as client:
        once = await judged_tokens("#big of one choice", 1)
        assert await judged_tokens("#big of eight choices", 8) == once > 0


@pytest.mark.parametrize(
    ("content", "reason"),
    [("#slow", "judge late"), ("#broken", "judge failed"), ("#unclear", "judge unclear")],
)
@pytest.mark.parametrize(("model", "side"), [("auto", "simple"), ("careful", "complex")])
def test_without_a_decision_of_the_judge_the_default_is_used_and_not_cached(
    running: Routers, content: str, reason: str, model: str, side: str
) -> None:
    began = time.monotonic()
    assert went(ask(running, f"{content} 1", model)) == (side, reason)
    assert time.monotonic() - began < 10
    assert went(ask(running, f"{content} 1", model)) == (side, reason)


async def test_a_judge_past_its_timeout_is_cancelled(running: Routers) -> None:
    await asyncio.to_thread(ask, running, "#slow and gone")
    async with engine_client(running.judge.address) as engine:
        await until(engine.idle, 5, "the judge is free")


def test_rules_need_no_judge(running: Routers) -> None:
    weather = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object"}}}
    called = ask(running, "#call #slow", tools=[weather])
    assert called.headers[REASON] == "tools"
    (call,) = called.json()["message"]["tool_calls"]
    assert call["function"]["arguments"] == {"city": "Paris"}
    assert went(ask(running, "hello " * 2_000)) == ("complex", "length")


async def test_a_client_that_disconnects_frees_the_judge(running: Routers) -> None:
    stack = Stack(running.judge, running.near)
    async with engine_client(running.judge.address) as engine, browser(stack) as client:
        await client.chat("auto", "#slow and left", stream=True)
        await until(engine.busy, 5, "the judge thinks")
        client.leave()
        assert await until(engine.idle, 5, "the judge is free again") < 1.5
