"""The output of scripted answers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from drover.errors import CapabilityMissing, EngineFailed
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator import SimulatorEngine
from engine_worker.engines.simulator.tokens import Tokenizer
from tests.unit.engine_worker.engines.simulator.harness import (
    FAST,
    Client,
    answer,
    prompt_request,
    raw_request,
    running,
    until,
)

TOKENIZER = Tokenizer(3)
Scripted = Callable[..., AbstractAsyncContextManager[SimulatorEngine]]


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    @asynccontextmanager
    async def start(*events: dict[str, object], match: str = "#go") -> AsyncIterator[SimulatorEngine]:
        path = tmp_path / "script.json"
        path.write_text(json.dumps([{"match": match, "events": events}]))
        async with running(replace(FAST, script_path=path)) as engine:
            yield engine

    return start


async def test_text_and_thinking_are_separate(scripted: Scripted) -> None:
    async with scripted(
        {"thinking": "Hm, "}, {"thinking": "so"}, {"text": "Paris"}, {"text": " 🐑."}
    ) as engine:
        result = await answer(engine, prompt_request("#go"))
    assert (result.thinking, result.text) == ("Hm, so", "Paris 🐑.")
    expected = [TOKENIZER.encode(text) for text in ("Hm, ", "so", "Paris", " 🐑.")]
    assert result.token_ids == [token_id for ids in expected for token_id in ids]
    assert result.done.reasoning_tokens == len(expected[0]) + len(expected[1])
    assert result.done.completion_tokens == len(result.token_ids) + 1
    assert result.done.finish_reason == pb.Done.STOP


def chat(*contents: tuple[str, str], continue_last: bool = False) -> pb.GenerateRequest:
    messages = [pb.Message(role=role, content=content) for role, content in contents]
    return pb.GenerateRequest(chat=pb.ChatInput(messages=messages, continue_last=continue_last))


CALLED = [("system", "#go"), ("user", "#go"), ("assistant", "")]


@pytest.mark.parametrize(
    "request_",
    [
        raw_request("now #go"),
        pb.GenerateRequest(tokens=pb.TokenIds(ids=TOKENIZER.encode("now #go"))),
        chat(("system", "x"), ("user", "now #go"), ("user", "a reminder")),
        chat(("user", "x"), ("assistant", "y"), ("user", "now #go"), ("tool", "z")),
        chat(("user", "x"), ("assistant", "y"), ("tool", "found #go")),
        chat(("user", "x"), ("assistant", "y"), ("tool", "found #go"), ("tool", "found none")),
        chat(("user", "x"), ("assistant", "y"), ("tool", "found #go"), ("user", "a reminder")),
        chat(("user", "x"), ("assistant", "y"), ("tool", "z"), ("system", "remember #go")),
        chat(("user", "now #go"), ("assistant", "to be contin"), continue_last=True),
    ],
)
async def test_the_open_turn_selects_the_script(scripted: Scripted, request_: pb.GenerateRequest) -> None:
    async with scripted({"text": "played"}) as engine:
        assert (await answer(engine, request_)).text == "played"


@pytest.mark.parametrize(
    "request_",
    [
        chat(("system", "#go"), ("user", "x")),
        chat(*CALLED, ("user", "x")),
        chat(*CALLED, ("tool", "found none")),
        chat(*CALLED, ("tool", "found none"), ("tool", "found one"), ("user", "a reminder")),
        chat(*CALLED, ("tool", "found none"), ("system", "a reminder")),
        chat(*CALLED, ("tool", "found none"), ("assistant", "to be contin"), continue_last=True),
        chat(("user", "x"), ("assistant", "#go"), continue_last=True),
    ],
)
async def test_an_answered_turn_does_not_play_again(scripted: Scripted, request_: pb.GenerateRequest) -> None:
    async with scripted({"text": "played"}) as engine:
        assert (await answer(engine, request_)).text != "played"


async def test_calls_are_whole_and_have_ids(scripted: Scripted) -> None:
    calls: list[dict[str, object]] = [
        {"tool_call": {"name": "look", "arguments": {"where": "hill"}, "id": "mine"}},
        {"tool_call": {"name": "count", "arguments": {}}},
    ]
    async with scripted({"text": "I look. "}, *calls) as engine:
        result = await answer(engine, prompt_request("#go"))
        again = await answer(engine, prompt_request("#go"))
    assert result.text == "I look. "
    look, count = result.calls
    assert (look.index, look.id, look.name, look.complete) == (0, "mine", "look", True)
    assert json.loads(look.arguments_fragment) == {"where": "hill"}
    assert (count.index, count.name, count.arguments_fragment) == (1, "count", "{}")
    assert count.id.startswith("call_")
    assert result.calls == again.calls


async def test_stop_texts_work_across_pieces_and_not_on_thinking(scripted: Scripted) -> None:
    async with scripted({"thinking": "a stop"}, {"text": "one st"}, {"text": "op two"}) as engine:
        result = await answer(engine, prompt_request("#go", stop=["stop"]))
    assert (result.thinking, result.text) == ("a stop", "one ")
    assert result.done.matched_stop == "stop"


async def test_held_back_text_comes_before_the_next_channel(scripted: Scripted) -> None:
    async with scripted({"text": "one st"}, {"thinking": "hm"}, {"text": "op"}) as engine:
        result = await answer(engine, prompt_request("#go", stop=["stop"]))
    thought = [delta.thinking for delta in result.deltas].index("hm")
    assert "".join(delta.content for delta in result.deltas[:thought]) == "one st"
    assert "".join(delta.content for delta in result.deltas[thought:]) == "op"
    assert result.done.finish_reason == pb.Done.STOP


@pytest.mark.parametrize("event", [{"text": "one two three"}, {"thinking": "one two three"}])
async def test_max_tokens_cut_a_piece(scripted: Scripted, event: dict[str, object]) -> None:
    async with scripted(event) as engine:
        result = await answer(engine, prompt_request("#go", max_tokens=2))
    assert result.text + result.thinking == "one tw"
    assert result.done.finish_reason == pb.Done.LENGTH
    assert result.done.completion_tokens == 2


async def test_a_cut_call_is_no_call(scripted: Scripted) -> None:
    async with scripted({"tool_call": {"name": "look", "arguments": {}}}) as engine:
        result = await answer(engine, prompt_request("#go", max_tokens=2))
    assert result.calls == []
    assert result.done.finish_reason == pb.Done.LENGTH
    assert len(result.token_ids) == 2


async def test_a_failure_comes_after_the_text_before_it(scripted: Scripted) -> None:
    async with scripted({"text": "so far"}, {"fail": "out of memory"}) as engine:
        client = Client(engine, prompt_request("#go"))
        error = await client.outcome()
        assert isinstance(error, EngineFailed)
        assert error.message == "out of memory"
        assert "".join(delta.content for event in client.events for delta in event.deltas) == "so far"
        assert engine.load_report().kv_tokens_used == 0
        assert (await answer(engine, prompt_request("other"))).text


async def test_a_pause_affects_one_request_only(scripted: Scripted) -> None:
    async with scripted({"text": "one"}, {"pause_ms": 60_000}, {"text": "two"}) as engine:
        client = Client(engine, prompt_request("#go"))
        await until(lambda: len(client.events) == 1)
        assert (await answer(engine, prompt_request("other"))).text
        assert engine.load_report().running == 1
        await client.cancel()
        assert engine.load_report().running == 0


async def test_a_request_continues_after_a_pause(scripted: Scripted) -> None:
    async with scripted(
        {"text": "one"}, {"pause_ms": 50}, {"text": "two"}, {"repeat": 2, "text": "!"}
    ) as engine:
        result = await answer(engine, prompt_request("#go"))
    assert result.text == "onetwo!!"
    assert result.done.timings.decode_ns >= 50_000_000


async def test_an_empty_script_is_an_empty_answer(scripted: Scripted) -> None:
    async with scripted() as engine:
        result = await answer(engine, prompt_request("#go", ignore_eos=True))
    assert (result.text, result.done.completion_tokens) == ("", 1)
    assert result.started.prompt_ids


async def test_a_script_answers_a_constraint_and_nothing_else_does(scripted: Scripted) -> None:
    async with scripted({"text": "{}"}) as engine:
        request = prompt_request("#go")
        request.any_json = True
        assert (await answer(engine, request)).text == "{}"
        request.prompt.text = "other"
        with pytest.raises(CapabilityMissing):
            await answer(engine, request)


async def test_a_call_that_is_demanded_must_be_in_the_script(scripted: Scripted) -> None:
    call = {"tool_call": {"name": "find", "arguments": {"q": 1}}}
    request = prompt_request("#go")
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    async with scripted(call) as engine:
        assert (await answer(engine, request)).text == ""
        request.tool_choice.mode, request.tool_choice.name = pb.ToolChoice.NAMED, "find"
        assert (await answer(engine, request)).text == ""
        request.tool_choice.name = "lose"
        with pytest.raises(CapabilityMissing, match="made to call a tool"):
            await answer(engine, request)
    async with scripted({"text": "I would rather not."}) as engine:
        request.tool_choice.mode, request.tool_choice.name = pb.ToolChoice.REQUIRED, ""
        with pytest.raises(CapabilityMissing, match="made to call a tool"):
            await answer(engine, request)


async def test_logprobs_come_for_scripted_tokens_too(scripted: Scripted) -> None:
    async with scripted({"thinking": "hm hm"}, {"text": "one two"}) as engine:
        request = prompt_request("#go")
        request.top_logprobs = 1
        result = await answer(engine, request)
    assert [each.token_id for each in result.logprobs] == result.token_ids


async def test_capabilities_follow_the_script(scripted: Scripted) -> None:
    async with scripted({"thinking": "hm"}) as engine:
        thinks = engine.model().capabilities
        request = prompt_request("#go")
        request.think.mode = pb.Think.ON
        assert (await answer(engine, request)).thinking == "hm"
    async with scripted({"tool_call": {"name": "a", "arguments": {}}}) as engine:
        calls = engine.model().capabilities
    assert (thinks.thinking, thinks.tools) == (True, False)
    assert (calls.thinking, calls.tools) == (False, True)
