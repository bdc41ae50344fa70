"""What /v1/chat/completions writes, member by member."""

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


def test_a_chunk_is_upstream_s() -> None:
    encoder = ChatEncoder("<m>", 1, include_usage=False)

    (frame,) = _frames(encoder.lines(joined(started(1), content("Paris & co"))))

    assert list(frame) == ["id", "object", "created", "model", "system_fingerprint", "choices"]
    assert frame["object"] == "chat.completion.chunk"
    assert frame["model"] == "<m>"
    assert frame["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": "Paris & co"}, "finish_reason": None}
    ]


def test_the_role_comes_once_and_the_end_by_itself() -> None:
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


def test_an_answer_without_text_has_a_first_chunk() -> None:
    first, end = _choices(ChatEncoder("m", 1, include_usage=False).lines(joined(started(1), done())))

    assert first["delta"] == {"role": "assistant", "content": ""}
    assert end["delta"] == {}


def test_what_shows_nothing_is_no_chunk() -> None:
    encoder = ChatEncoder("m", 1, include_usage=False)

    assert encoder.lines(started(1, 2)) == b""
    assert encoder.lines(content("", 7)) == b""


def test_a_call_goes_out_piece_by_piece() -> None:
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


def test_a_call_without_arguments_has_an_empty_object() -> None:
    encoder = ChatEncoder("m", 1, include_usage=False)
    events = [call(0, call_id="call_1", name="f"), call(0, complete=True)]

    choices = [choice for event in events for choice in _choices(encoder.lines(event))]

    pieces = [choice["delta"]["tool_calls"][0]["function"]["arguments"] for choice in choices]
    assert pieces == ["", "{}"]


def test_a_call_that_was_cut_ends_by_its_length() -> None:
    encoder = ChatEncoder("m", 1, include_usage=False)
    encoder.lines(call(0, '{"a', call_id="call_1", name="f"))

    (end,) = _choices(encoder.lines(done(pb.Done.LENGTH)))

    assert end["finish_reason"] == "length"


def test_logprobs() -> None:
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


def test_choices_stream_beside_each_other_and_end_together() -> None:
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


def test_a_whole_answer() -> None:
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
def test_used_tokens_tell_what_was_cached_and_thought(streamed: bool) -> None:
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
