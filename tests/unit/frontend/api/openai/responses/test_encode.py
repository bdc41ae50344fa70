"""Encoding of responses, streamed and not."""

from __future__ import annotations

import json
from typing import Any

from drover.errors import EngineFailed
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.openai.responses.encode import ResponsesEncoder
from frontend.api.openai.responses.output import OutputItems
from tests.support.sse import Event, events_of
from tests.unit.frontend.api.events import call, content, done, joined, started, thinking

ECHO: dict[str, Json] = {"model": "m", "tools": []}
NAMESPACES = {"crm.find": ("crm", "find")}


def encoder() -> ResponsesEncoder:
    return ResponsesEncoder(ECHO, OutputItems(NAMESPACES))


def streamed(*events: pb.GenerateEvent) -> list[Event]:
    one = encoder()
    found = events_of(b"".join(one.lines(event) for event in events).decode())
    assert [data["sequence_number"] for _, data in found] == list(range(len(found)))
    return found


def names(events: list[Event]) -> list[str]:
    return [name.removeprefix("response.") for name, _ in events]


def whole(*events: pb.GenerateEvent) -> dict[str, Any]:
    value = json.loads(encoder().body(events))
    assert isinstance(value, dict)
    return value


def test_the_events_of_a_text() -> None:
    events = streamed(started(1), content("He"), content("llo"), done(prompt_tokens=3, completion_tokens=2))

    assert names(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    begun, ended = events[0][1]["response"], events[-1][1]["response"]
    assert (begun["status"], begun["output"], begun["usage"]) == ("in_progress", [], None)
    assert (ended["status"], ended["incomplete_details"], ended["id"]) == ("completed", None, begun["id"])
    assert ended["completed_at"] >= ended["created_at"]
    (item,) = ended["output"]
    assert item == events[-2][1]["item"]
    assert item["content"][0]["text"] == "Hello"
    assert {data["item_id"] for name, data in events if "item_id" in data} == {item["id"]}


def test_nothing_is_sent_before_there_is_output() -> None:
    assert encoder().lines(started(1, 2)) == b""


def test_thinking_is_a_reasoning_item() -> None:
    events = streamed(thinking("h"), thinking("m"), content("Yes"), done())

    assert names(events)[2:9] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    assert [events[at][1]["part"]["text"] for at in (3, 7)] == ["", "hm"]
    reasoning = events[8][1]["item"]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert reasoning["encrypted_content"] == "hm"
    assert [item["type"] for item in events[-1][1]["response"]["output"]] == ["reasoning", "message"]


def test_a_call_is_streamed_in_fragments_and_text_may_follow() -> None:
    answer = (
        call(0, '{"city":', call_id="call_1", name="weather"),
        call(0, '"Paris"}', complete=True),
        content("So."),
        done(),
    )
    events = streamed(*answer)

    assert names(events)[2:7] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
    ]
    assert [events[at][1]["delta"] for at in (3, 4)] == ['{"city":', '"Paris"}']
    assert events[5][1]["arguments"] == '{"city":"Paris"}'
    output = events[-1][1]["response"]["output"]
    assert [(item["type"], item["status"]) for item in output] == [
        ("function_call", "completed"),
        ("message", "completed"),
    ]
    assert (output[0]["call_id"], output[0]["name"]) == ("call_1", "weather")
    assert [item["type"] for item in whole(*answer)["output"]] == ["function_call", "message"]


def test_the_namespace_of_a_function_is_a_field_of_its_own() -> None:
    (item,) = whole(call(0, "{}", "c", "crm.find", complete=True), done())["output"]

    assert (item["namespace"], item["name"]) == ("crm", "find")


def test_a_response_that_is_cut_off_is_incomplete() -> None:
    cut = (content("One"), done(pb.Done.LENGTH))
    events = streamed(*cut)

    assert names(events)[-2:] == ["output_item.done", "incomplete"]
    assert events[-2][1]["item"]["status"] == "incomplete"
    for response in (events[-1][1]["response"], whole(*cut)):
        assert (response["status"], response["completed_at"]) == ("incomplete", None)
        assert response["incomplete_details"] == {"reason": "max_output_tokens"}
        assert response["output"][0]["status"] == "incomplete"


def test_a_call_that_is_cut_off_is_incomplete() -> None:
    (item,) = whole(call(0, '{"city": ', "c", "weather"), done(pb.Done.LENGTH))["output"]

    assert (item["status"], item["arguments"]) == ("incomplete", '{"city": ')


def test_an_error_in_a_stream_ends_it_as_failed() -> None:
    one = encoder()
    one.lines(content("Hel"))
    error, failed = events_of(one.error_line(EngineFailed("it broke")).decode())

    message = "service unavailable: it broke"
    assert (error[1]["code"], error[1]["message"], error[1]["param"]) == ("server_error", message, None)
    response = failed[1]["response"]
    assert failed[0] == "response.failed"
    assert (response["status"], response["error"]) == (
        "failed",
        {"code": "server_error", "message": message},
    )
    assert response["output"][0]["content"][0]["text"] == "Hel"
    assert failed[1]["sequence_number"] == error[1]["sequence_number"] + 1


def test_an_error_before_the_first_event_begins_the_response() -> None:
    """OpenAI's client refuses a stream that begins with anything but a response."""
    events = events_of(encoder().error_line(EngineFailed("it broke")).decode())

    assert names(events) == ["created", "in_progress", "error", "failed"]
    assert [data["sequence_number"] for _, data in events] == [0, 1, 2, 3]
    message = "service unavailable: it broke"
    assert events[2][1]["message"] == events[3][1]["response"]["error"]["message"] == message


def test_one_event_with_all_parts_makes_the_same_events() -> None:
    parts = (started(1), thinking("hm"), content("a"), call(0, "{}", "c", "f", complete=True), done())

    assert names(streamed(joined(*parts))) == names(streamed(*parts))


def test_usage_has_cached_and_reasoning_tokens() -> None:
    end = pb.Done(prompt_tokens=16, cached_tokens=12, completion_tokens=9, reasoning_tokens=4)

    assert whole(pb.GenerateEvent(done=end))["usage"] == {
        "input_tokens": 16,
        "input_tokens_details": {"cached_tokens": 12, "cache_write_tokens": 0},
        "output_tokens": 9,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 25,
    }


def test_an_empty_response() -> None:
    """As in Ollama, it has an empty message only if not streamed."""
    assert names(streamed(done())) == ["created", "in_progress", "completed"]
    (item,) = whole(done())["output"]
    assert (item["type"], item["content"][0]["text"]) == ("message", "")
