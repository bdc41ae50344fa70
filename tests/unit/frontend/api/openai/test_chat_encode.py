"""Encoding of chat completions, streamed and not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.api.openai.chat_encode import ChatEncoder
from tests.unit.frontend.api.events import (
    call,
    content,
    done,
    joined,
    logprob,
    started,
    thinking,
)


def _frames(data: bytes) -> list[Any]:
    text = data.decode()
    assert text == "" or text.endswith("\n\n")
    frames = [frame.removeprefix("data: ") for frame in text.removesuffix("\n\n").split("\n\n") if frame]
    return [frame if frame == "[DONE]" else json.loads(frame) for frame in frames]


def _choices(data: bytes) -> list[Any]:
    return [choice for frame in _frames(data) if frame != "[DONE]" for choice in frame["choices"]]


def test_a_chunk_has_the_members_of_ollama_s() -> None:
    encoder = ChatEncoder("<m>", 1, include_usage=False)

    (frame,) = _frames(encoder.lines(joined(started(1), content("Paris & co"))))

    assert list(frame) == ["id", "object", "created", "model", "system_fingerprint", "choices"]
    assert frame["object"] == "chat.completion.chunk"
    assert frame["model"] == "<m>"
    assert frame["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": "Paris & co"}, "finish_reason": None}
    ]


def test_the_first_chunk_has_the_role_and_the_last_the_finish_reason() -> None:
    encoder = ChatEncoder("m", 1, include_usage=True)
    frames = _frames(encoder.lines(joined(thinking("hm"), content("A"), content("B"), done())))

    assert [frame["choices"] for frame in frames[:-2]] == [
        [
            {
                "index": 0,
                "delta": {"role": "assistant", "content": "", "reasoning": "hm"},
                "finish_reason": None,
            }
        ],
        [{"index": 0, "delta": {"content": "A"}, "finish_reason": None}],
        [{"index": 0, "delta": {"content": "B"}, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "stop"}],
    ]
    assert frames[-2]["choices"] == []
    assert frames[-2]["usage"]["total_tokens"] == 24
    assert frames[-1] == "[DONE]"
    assert len({frame["id"] for frame in frames[:-1]}) == 1


def test_an_empty_stream_has_a_chunk_with_the_role() -> None:
    first, end = _choices(ChatEncoder("m", 1, include_usage=False).lines(joined(started(1), done())))

    assert first["delta"] == {"role": "assistant", "content": ""}
    assert end["delta"] == {}


def test_an_event_without_output_makes_no_chunk() -> None:
    encoder = ChatEncoder("m", 1, include_usage=False)

    assert encoder.lines(started(1, 2)) == b""
    assert encoder.lines(content("", 7)) == b""


def test_a_call_is_streamed_in_parts() -> None:
    encoder = ChatEncoder("m", 1, include_usage=False)
    events = [
        call(0, call_id="call_1", name="f"),
        call(0, '{"a":'),
        call(0, "1}", complete=True),
        done(),
    ]

    choices = [choice for event in events for choice in _choices(encoder.lines(event))]

    assert [choice["delta"].get("tool_calls") for choice in choices] == [
        [
            {
                "id": "call_1",
                "index": 0,
                "type": "function",
                "function": {"name": "f", "arguments": ""},
            }
        ],
        [{"index": 0, "function": {"arguments": '{"a":'}}],
        [{"index": 0, "function": {"arguments": "1}"}}],
        None,
    ]
    assert choices[-1]["finish_reason"] == "tool_calls"


def test_a_call_without_arguments_gets_an_empty_object() -> None:
    encoder = ChatEncoder("m", 1, include_usage=False)
    events = [call(0, call_id="call_1", name="f"), call(0, complete=True)]

    choices = [choice for event in events for choice in _choices(encoder.lines(event))]

    parts = [choice["delta"]["tool_calls"][0]["function"]["arguments"] for choice in choices]
    assert parts == ["", "{}"]


def test_a_call_that_is_cut_off_has_the_finish_reason_length() -> None:
    encoder = ChatEncoder("m", 1, include_usage=False)
    encoder.lines(call(0, '{"a', call_id="call_1", name="f"))

    (end,) = _choices(encoder.lines(done(pb.Done.LENGTH)))

    assert end["finish_reason"] == "length"


def test_logprobs_have_bytes_and_alternatives() -> None:
    encoder = ChatEncoder("m", 1, include_usage=False)
    event = content("Hi", 5, logprobs=(logprob(b"Hi", -0.25, (b"Hi", -0.25)), logprob(b"\xff", -1.0)))

    (choice,) = _choices(encoder.lines(event))

    assert choice["logprobs"]["content"] == [
        {
            "token": "Hi",
            "logprob": -0.25,
            "bytes": [72, 105],
            "top_logprobs": [{"token": "Hi", "logprob": -0.25, "bytes": [72, 105]}],
        },
        {"token": "\ufffd", "logprob": -1.0, "bytes": [255], "top_logprobs": []},
    ]


def test_choices_are_interleaved_and_end_with_one_usage() -> None:
    encoder = ChatEncoder("m", 2, include_usage=True)
    data = b"".join(
        encoder.lines(event, choice)
        for choice, event in [(1, content("b")), (0, content("a")), (1, done()), (0, done())]
    )

    frames = _frames(data)

    assert [choice["index"] for choice in _choices(data)] == [1, 0, 1, 0]
    assert [frame == "[DONE]" for frame in frames] == [False] * 5 + [True]
    assert frames[-2]["usage"]["prompt_tokens"] == 16
    assert frames[-2]["usage"]["completion_tokens"] == 16


def test_the_timings_stand_behind_the_usage() -> None:
    """Of several choices those of the slowest, and the usage's counts."""
    encoder = ChatEncoder("m", 2, include_usage=True)
    slow = pb.Timings(prefill_ns=20_000_000, decode_ns=80_000_000)
    first, last = done(), done(timings=slow)
    data = encoder.lines(first, 0) + encoder.lines(last, 1)

    frame = _frames(data)[-2]
    assert list(frame)[-2:] == ["usage", "timings"]
    assert frame["timings"] == {
        "prompt_n": 16,
        "prompt_ms": 20.0,
        "prompt_per_second": 800.0,
        "predicted_n": 16,
        "predicted_ms": 80.0,
        "predicted_per_second": 200.0,
    }


def test_a_time_of_zero_has_a_rate_of_zero() -> None:
    data = ChatEncoder("m", 1, include_usage=True).lines(done(timings=pb.Timings()))
    timings = _frames(data)[-2]["timings"]
    assert (timings["prompt_ms"], timings["prompt_per_second"], timings["predicted_per_second"]) == (0, 0, 0)


def test_there_are_no_timings_without_a_usage_and_in_whole_answers() -> None:
    assert b"timings" not in ChatEncoder("m", 1, include_usage=False).lines(done())
    assert b"timings" not in ChatEncoder("m", 1, include_usage=True).body([done()])


def test_a_response_that_is_not_streamed() -> None:
    events = [
        joined(started(1), thinking("hm"), content("It ")),
        content("is"),
        call(0, '{"b": 1, "a": "<"}', call_id="call_1", name="f", complete=True),
        done(),
    ]

    answer = json.loads(ChatEncoder("m", 1, include_usage=False).body(events))

    assert answer["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "It is",
                "reasoning": "hm",
                "tool_calls": [
                    {
                        "id": "call_1",
                        "index": 0,
                        "type": "function",
                        "function": {"name": "f", "arguments": '{"b":1,"a":"<"}'},
                    }
                ],
            },
            "finish_reason": "tool_calls",
        }
    ]


@pytest.mark.parametrize("streamed", [True, False])
def test_usage_has_cached_and_reasoning_tokens(streamed: bool) -> None:
    ends = [
        pb.Done(
            finish_reason=pb.Done.STOP,
            prompt_tokens=10,
            cached_tokens=cached,
            completion_tokens=5,
            reasoning_tokens=2,
        )
        for cached in (0, 9)
    ]
    encoder = ChatEncoder("m", 2, include_usage=True)
    events = [pb.GenerateEvent(done=end) for end in ends]

    if streamed:
        last = _frames(b"".join(encoder.lines(event, choice) for choice, event in enumerate(events)))[-2]
    else:
        last = json.loads(encoder.body(*[[event] for event in events]))

    assert last["usage"] == {
        "prompt_tokens": 10,
        "completion_tokens": 10,
        "total_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
