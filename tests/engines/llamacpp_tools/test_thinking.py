"""Thinking, stop texts and log probabilities of a template that has tools too."""

from __future__ import annotations

import asyncio

import pytest

from drover.v1 import engine_pb2 as pb
from tests.engines.llamacpp_tools.answers import (
    ANSWER,
    THOUGHT,
    counts_of,
)
from tests.support.answers import answer_to, text_of
from tests.support.chat_requests import chat_with, tool
from tests.support.engine_client import EngineClient
from tests.support.waiting import until

pytestmark = pytest.mark.real_model


async def test_the_template_is_announced(engine: EngineClient) -> None:
    capabilities = (await engine.stub.GetModel(pb.GetModelRequest())).capabilities
    assert (capabilities.tools, capabilities.thinking) == (True, True)


@pytest.mark.parametrize("mode", [pb.Think.UNSET, pb.Think.ON])
async def test_thinking_is_separate_from_the_answer(
    engine: EngineClient, mode: pb.Think.Mode.ValueType
) -> None:
    request = chat_with()
    request.think.mode = mode
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == (THOUGHT, ANSWER)
    done = answer.done
    assert (done.finish_reason, done.completion_tokens, done.reasoning_tokens) == (pb.Done.STOP, 12, 6)
    assert done.prompt_tokens == len(answer.started.prompt_ids)
    assert counts_of(answer) == sorted(counts_of(answer))
    assert min(done.timings.queue_ns, done.timings.prefill_ns, done.timings.decode_ns) > 0
    written = await text_of(engine, answer.ids)
    assert written == f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}"


async def test_a_model_does_not_think_when_switched_off(engine: EngineClient) -> None:
    request = chat_with()
    request.think.mode = pb.Think.OFF
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == ("", "Ok.")
    assert await text_of(engine, answer.ids) == "Ok."


async def test_a_single_prompt_is_answered_with_thinking_too(engine: EngineClient) -> None:
    request = pb.GenerateRequest(sampling=pb.Sampling(temperature=0))
    request.prompt.text = "Hi"
    request.prompt.system = "Be kind."
    answer = await answer_to(engine, request)
    assert (answer.thinking, answer.content) == (THOUGHT, ANSWER)
    again = pb.GenerateRequest(sampling=request.sampling)
    again.prompt.text = "And then?"
    again.prompt.context.extend([*answer.started.prompt_ids, *answer.ids])
    answer = await answer_to(engine, again)
    assert list(answer.started.not_honoured) == ["think"]
    assert (answer.thinking, answer.content) == ("", "Ok.")
    assert "Be kind." in await text_of(engine, list(answer.started.prompt_ids))


@pytest.mark.parametrize(
    ("stops", "thinking", "content", "matched"),
    [
        (["lo th"], THOUGHT, "Hel", "lo th"),
        (["nowhere", "of the"], "I think ", "", "of the"),
        (["there is"], THOUGHT, ANSWER, ""),
    ],
)
async def test_stop_texts(
    engine: EngineClient, stops: list[str], thinking: str, content: str, matched: str
) -> None:
    answer = await answer_to(engine, chat_with(stop=stops))
    assert (answer.thinking, answer.content, answer.done.matched_stop) == (thinking, content, matched)
    assert answer.done.finish_reason == pb.Done.STOP
    await until(engine.idle, 2, "the slot is free")


async def test_a_partial_stop_text_is_sent_at_the_token_limit(engine: EngineClient) -> None:
    answer = await answer_to(engine, chat_with(stop=["there is"], max_tokens=11))
    assert (answer.content, answer.done.finish_reason) == (ANSWER, pb.Done.LENGTH)


async def test_logprobs_are_those_of_tokens_with_text(engine: EngineClient) -> None:
    request = chat_with()
    request.top_logprobs = 2
    answer = await answer_to(engine, request)
    shown = b"".join(logprob.token for logprob in answer.logprobs).decode()
    assert shown == THOUGHT + ANSWER
    assert {len(logprob.top) for logprob in answer.logprobs} == {2}


async def test_many_more_requests_than_slots_are_all_answered(engine: EngineClient) -> None:
    answers = await asyncio.gather(
        *(
            answer_to(engine, chat_with(tool("get_weather"), content=f"Number {number}."))
            for number in range(60)
        )
    )
    assert {(answer.thinking, answer.content) for answer in answers} == {(THOUGHT, ANSWER)}
    await until(engine.idle, 2, "all slots are free")
    assert (await engine.load()).kv_tokens_used == 0
