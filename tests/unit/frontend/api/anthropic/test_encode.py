"""Encoding of Anthropic's messages, streamed and not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.api.anthropic.encode import SIGNATURE, MessagesEncoder
from tests.support.sse import Event, events_of
from tests.unit.frontend.api.events import call, content, done, joined, started, thinking


def streamed(*events: pb.GenerateEvent, stops: tuple[str, ...] = ()) -> list[Event]:
    encoder = MessagesEncoder("m", stops)
    return events_of(b"".join(encoder.lines(event) for event in events).decode())


def names(events: list[Event]) -> list[str]:
    """The events' names, with the type of each delta or beginning block."""
    parts = [(name, data.get("delta") or data.get("content_block") or {}) for name, data in events]
    return [f"{name} {part.get('type', '')}".strip() for name, part in parts]


def whole(*events: pb.GenerateEvent, stops: tuple[str, ...] = ()) -> dict[str, Any]:
    value = json.loads(MessagesEncoder("m", stops).body(events))
    assert isinstance(value, dict)
    return value


def stopped_at(text: str) -> pb.GenerateEvent:
    return pb.GenerateEvent(done=pb.Done(finish_reason=pb.Done.STOP, matched_stop=text))


def test_the_events_of_a_text() -> None:
    events = streamed(
        started(1, 2, 3), content("He"), content("llo"), done(prompt_tokens=3, completion_tokens=2)
    )

    assert names(events) == [
        "message_start",
        "content_block_start text",
        "content_block_delta text_delta",
        "content_block_delta text_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    message = events[0][1]["message"]
    assert message.pop("id").startswith("msg_")
    assert message == {
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": 0,
        },
    }
    assert [data["delta"]["text"] for name, data in events if name == "content_block_delta"] == ["He", "llo"]
    assert events[-2][1]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert events[-2][1]["usage"]["output_tokens"] == 2


def test_no_event_is_sent_before_there_is_output() -> None:
    assert MessagesEncoder("m", ()).lines(started(1, 2)) == b""


def test_a_thinking_block_ends_with_a_signature() -> None:
    events = streamed(thinking("hm"), content("Yes"), done())

    assert names(events)[1:6] == [
        "content_block_start thinking",
        "content_block_delta thinking_delta",
        "content_block_delta signature_delta",
        "content_block_stop",
        "content_block_start text",
    ]
    assert events[3][1]["delta"]["signature"] == SIGNATURE


def test_a_call_is_streamed_in_fragments_and_text_may_follow() -> None:
    events = streamed(
        content("Look:"),
        call(0, '{"city":', call_id="call_1", name="weather"),
        call(0, '"Paris"}', complete=True),
        content("So."),
        done(),
    )

    assert [(name, data["index"]) for name, data in events if "index" in data] == [
        ("content_block_start", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("content_block_start", 1),
        ("content_block_delta", 1),
        ("content_block_delta", 1),
        ("content_block_stop", 1),
        ("content_block_start", 2),
        ("content_block_delta", 2),
        ("content_block_stop", 2),
    ]
    block = events[4][1]["content_block"]
    assert block == {"type": "tool_use", "id": "call_1", "name": "weather", "input": {}}
    assert [events[at][1]["delta"]["partial_json"] for at in (5, 6)] == ['{"city":', '"Paris"}']
    assert events[-2][1]["delta"]["stop_reason"] == "tool_use"


def test_calls_without_arguments_get_an_empty_object() -> None:
    """The first call gets it when it ends; a later repetition by the engine is ignored."""
    answer = (
        call(0, call_id="a", name="now"),
        call(1, call_id="b", name="then", complete=True),
        call(0, "{}", complete=True),
        done(),
    )

    pieces = [
        (data["index"], data["delta"]["partial_json"])
        for name, data in streamed(*answer)
        if name == "content_block_delta"
    ]

    assert pieces == [(0, "{}"), (1, "{}")]
    assert [block["input"] for block in whole(*answer)["content"]] == [{}, {}]


def test_one_event_with_all_parts_makes_the_same_events() -> None:
    pieces = (started(1), thinking("hm"), content("a"), call(0, "{}", "c", "f", complete=True), done())

    assert names(streamed(joined(*pieces))) == names(streamed(*pieces))


@pytest.mark.parametrize("stops", [("END",), ()])
def test_a_stop_text_is_reported_if_it_is_the_request_s(stops: tuple[str, ...]) -> None:
    """The model's own stop texts end the turn with end_turn."""
    expected = {
        "stop_reason": "stop_sequence" if stops else "end_turn",
        "stop_sequence": "END" if stops else None,
    }

    assert streamed(content("a"), stopped_at("END"), stops=stops)[-2][1]["delta"] == expected
    answer = whole(content("a"), stopped_at("END"), stops=stops)
    assert {key: answer[key] for key in expected} == expected


def test_a_call_that_is_cut_off_is_only_in_a_stream() -> None:
    """A stream has sent its parts already; otherwise it is left out, since it cannot be called."""
    cut = (call(0, '{"city": ', "c", "weather"), done(pb.Done.LENGTH))

    assert streamed(*cut)[-2][1]["delta"]["stop_reason"] == "max_tokens"
    answer = whole(*cut)
    assert (answer["content"], answer["stop_reason"]) == ([], "max_tokens")


def test_a_message_that_is_not_streamed() -> None:
    answer = whole(
        started(1),
        thinking("h"),
        thinking("m"),
        content("<b>"),
        call(0, '{"city":"Paris"}', "call_1", "weather", complete=True),
        done(prompt_tokens=16, completion_tokens=8),
    )

    assert answer["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": SIGNATURE},
        {"type": "text", "text": "<b>"},
        {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Paris"}},
    ]
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("tool_use", None)


def test_cached_tokens_are_counted_apart() -> None:
    cached = pb.GenerateEvent(done=pb.Done(prompt_tokens=16, cached_tokens=12, completion_tokens=1))

    assert whole(content("a"), cached)["usage"] == {
        "input_tokens": 4,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 12,
        "output_tokens": 1,
    }
    assert streamed(content("a"), cached)[-2][1]["usage"]["cache_read_input_tokens"] == 12


def test_an_answer_without_a_word() -> None:
    assert names(streamed(done())) == ["message_start", "message_delta", "message_stop"]
    assert whole(done())["content"] == []
