"""Answers that go on after another worker's tokens (proto: Continuation), on the real engine.

What comes next is forced by a bias on one token, so that a test chooses what stands behind the joint.
"""

from __future__ import annotations

import json

import grpc
import pytest

from drover.v1 import engine_pb2 as pb
from tests.support.answers import Answer, answer_to, text_of, token_of, tokens_of
from tests.support.chat_requests import chat
from tests.support.engine_client import EngineClient

FORCE = 100.0
STORY = "Tell me a story about the sea."
WEATHER = pb.Tool(
    name="get_weather",
    description="Weather of a city",
    parameters_json=json.dumps({"type": "object", "properties": {"city": {"type": "string"}}}),
)


async def continued(
    engine: EngineClient, request: pb.GenerateRequest, produced: list[int], more: int, **sent: object
) -> Answer:
    """The answer after `produced`, at most `more` tokens longer; `sent` says what the client has had."""
    prompt = (await engine.stub.Render(pb.RenderRequest(request=request))).ids
    request.continuation.MergeFrom(
        pb.Continuation(prompt_ids=prompt, produced_ids=produced, **sent)  # type: ignore[arg-type]  # mypy cannot type fields in **
    )
    request.sampling.max_tokens = len(produced) + more
    return await answer_to(engine, request)


@pytest.mark.parametrize("cut", [0, 1, 7, 19])
async def test_a_resumed_response_equals_an_undisturbed_one(engine: EngineClient, cut: int) -> None:
    whole = await answer_to(engine, chat(STORY, max_tokens=20, ignore_eos=True))
    produced = whole.ids[:cut]
    shown = await text_of(engine, produced)
    answer = await continued(
        engine, chat(STORY, ignore_eos=True), produced, 20 - cut, content_characters_sent=len(shown)
    )
    fresh = await answer_to(
        engine,
        pb.GenerateRequest(
            tokens=pb.TokenIds(ids=[*whole.started.prompt_ids, *produced]),
            sampling=pb.Sampling(temperature=0, max_tokens=20 - cut, ignore_eos=True),
        ),
    )
    assert answer.ids == fresh.ids
    assert shown + answer.content == await text_of(engine, produced + answer.ids)
    assert (answer.done.prompt_tokens, answer.done.completion_tokens) == (len(whole.started.prompt_ids), 20)
    assert list(answer.started.prompt_ids) == list(whole.started.prompt_ids)


async def test_the_counts_and_times_are_those_of_the_whole(engine: EngineClient) -> None:
    produced = await tokens_of(engine, "The sea is")
    earlier = pb.Timings(queue_ns=10**12, load_ns=5, prefill_ns=10**12, decode_ns=10**12)
    answer = await continued(
        engine,
        chat(STORY, ignore_eos=True),
        produced,
        2,
        timings=earlier,
        cached_tokens=7,
        truncated_tokens=9,
    )
    assert answer.done.completion_tokens == len(produced) + 2
    assert [delta.completion_tokens for delta in answer.deltas][-1] == len(produced) + 2
    assert answer.done.timings.prefill_ns > 10**12
    assert answer.done.timings.load_ns == 5
    assert (answer.done.cached_tokens, answer.started.truncated_tokens) == (7, 9)


async def test_an_answer_with_all_its_tokens_ends_at_once(engine: EngineClient) -> None:
    produced = await tokens_of(engine, "The sea is wide")
    answer = await continued(engine, chat(STORY), produced, 0)
    assert (answer.done.finish_reason, answer.content) == (pb.Done.LENGTH, "The sea is wide")
    assert answer.done.completion_tokens == len(produced)


async def test_a_character_split_at_the_resume_point_stays_whole(engine: EngineClient) -> None:
    text = "Hi 🌍🐑 世界!"
    ids = await tokens_of(engine, text)
    assert len(ids) > len(text), "nothing is split here"
    for cut in range(len(ids)):
        shown = (await text_of(engine, ids[:cut])).rstrip("\N{REPLACEMENT CHARACTER}")
        request = chat(STORY, logit_bias={ids[cut]: FORCE})
        answer = await continued(engine, request, ids[:cut], 1, content_characters_sent=len(shown))
        assert answer.ids == [ids[cut]]
        # A character that the limit cuts is not shown.
        expected = (await text_of(engine, ids[: cut + 1])).rstrip("\N{REPLACEMENT CHARACTER}")
        assert shown + answer.content == expected, f"cut at {cut}"


async def test_a_stop_text_across_the_resume_point_ends_the_response(engine: EngineClient) -> None:
    produced = await tokens_of(engine, "A long story ends he")
    following = await token_of(engine, "re")
    request = chat(STORY, logit_bias={following: FORCE}, stop=["ends here"])
    answer = await continued(engine, request, produced, 9, content_characters_sent=len("A long story "))
    assert (answer.content, answer.done.matched_stop) == ("", "ends here")
    assert answer.done.finish_reason == pb.Done.STOP


async def test_the_beginning_of_a_stop_text_is_shown_if_it_does_not_complete(engine: EngineClient) -> None:
    produced = await tokens_of(engine, "A long story ends he")
    following = await token_of(engine, "aven")
    request = chat(STORY, logit_bias={following: FORCE}, stop=["ends here"])
    answer = await continued(engine, request, produced, 1, content_characters_sent=len("A long story "))
    assert answer.content == "ends heaven"


async def test_a_stop_text_among_the_earlier_tokens_ends_it_at_once(engine: EngineClient) -> None:
    produced = await tokens_of(engine, "One two three four")
    answer = await continued(engine, chat(STORY, stop=["three"]), produced, 9)
    assert (answer.content, answer.done.matched_stop) == ("One two ", "three")


async def test_inside_thinking(thinker_engine: EngineClient) -> None:
    produced = await tokens_of(thinker_engine, "<think>\nI wonder")
    end = await token_of(thinker_engine, "</think>")
    request = chat("hi", logit_bias={end: FORCE})
    request.think.mode = pb.Think.ON
    answer = await continued(thinker_engine, request, produced, 1, thinking_characters_sent=len("I won"))
    assert (answer.thinking, answer.content) == ("der", "")
    said = await tokens_of(thinker_engine, "<think>\nI wonder</think>\n\nHel")
    following = await token_of(thinker_engine, "lo")
    request = chat("hi", logit_bias={following: FORCE})
    request.think.mode = pb.Think.ON
    answer = await continued(
        thinker_engine, request, said, 1, thinking_characters_sent=len("I wonder"), content_characters_sent=2
    )
    assert (answer.thinking, answer.content) == ("", "llo")


async def test_inside_a_tool_call(thinker_engine: EngineClient) -> None:
    call = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bos'
    produced = await tokens_of(thinker_engine, call)
    quote, brace = await token_of(thinker_engine, '"'), await token_of(thinker_engine, "}")
    request = chat("hi", logit_bias={quote: FORCE, brace: FORCE - 1})
    request.chat.tools.append(WEATHER)
    request.tool_choice.mode = pb.ToolChoice.REQUIRED
    request.think.mode = pb.Think.OFF
    answer = await continued(
        thinker_engine,
        request,
        produced,
        30,
        tool_call_ids_sent=["call_12345678"],
        tool_call_argument_characters_sent=[len('{"city"')],
    )
    assert answer.calls[0].id == answer.calls[0].name == answer.content == ""
    assert json.loads('{"city"' + answer.calls[0].arguments_json) == {"city": "Bos"}
    assert answer.complete == {0}


async def test_a_call_that_was_not_delivered_is_sent_whole(thinker_engine: EngineClient) -> None:
    produced = await tokens_of(
        thinker_engine, '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Rome"'
    )
    brace = await token_of(thinker_engine, "}")
    request = chat("hi", logit_bias={brace: FORCE})
    request.chat.tools.append(WEATHER)
    request.think.mode = pb.Think.OFF
    answer = await continued(thinker_engine, request, produced, 2)
    assert (answer.calls[0].name, json.loads(answer.calls[0].arguments_json)) == (
        "get_weather",
        {"city": "Rome"},
    )
    assert answer.calls[0].id.startswith("call_")


async def test_under_a_constraint(engine: EngineClient) -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"enum": ["Ada", "Grace"]},
            "age": {"type": "integer", "minimum": 10, "maximum": 99},
        },
        "required": ["name", "age"],
        "additionalProperties": False,
    }
    model = await engine.stub.GetModel(pb.GetModelRequest())
    assert model.capabilities.resume_constraint
    first = chat("Who are you?", max_tokens=80)
    first.json_schema = json.dumps(schema)
    whole = await answer_to(engine, first)
    json.loads(whole.content)
    for cut in range(1, len(whole.ids), 3):
        shown = await text_of(engine, whole.ids[:cut])
        request = chat("Who are you?")
        request.json_schema = json.dumps(schema)
        answer = await continued(engine, request, whole.ids[:cut], 80, content_characters_sent=len(shown))
        assert set(json.loads(shown + answer.content)) == {"name", "age"}, f"cut at {cut}"


async def test_tokens_that_a_constraint_forbids_are_refused(engine: EngineClient) -> None:
    request = chat("Who are you?")
    request.regex = "[0-9]{4}"
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await continued(engine, request, await tokens_of(engine, "abc"), 10)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_penalties_make_a_request_not_resumable(engine: EngineClient) -> None:
    produced = await tokens_of(engine, "The sea")
    answer = await continued(engine, chat(STORY, repeat_penalty=1.3, presence_penalty=0.5), produced, 1)
    assert set(answer.started.not_honoured) >= {"repeat_penalty", "presence_penalty"}
