"""Encoding of responses, streamed and not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drover.errors import (
    ContextExceeded,
    DeadlineExceeded,
    DroverError,
    EngineFailed,
    EngineStalled,
    InternalError,
    QueueFull,
    TemplateFailed,
)
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.openai.responses.calls import Origin, ToolKind
from frontend.api.openai.responses.encode import ResponsesEncoder
from frontend.api.openai.responses.output import OutputItems
from tests.support.sse import Event, events_of
from tests.unit.frontend.api.events import call, content, done, joined, started, thinking

ECHO: dict[str, Json] = {"model": "m", "tools": []}
ORIGINS = {
    "crm.find": Origin("find", "crm"),
    "exec": Origin("exec", "functions", ToolKind.CUSTOM),
    "apply_patch": Origin("apply_patch", kind=ToolKind.CUSTOM),
    "tool_search": Origin("tool_search", kind=ToolKind.SEARCH),
}


def encoder() -> ResponsesEncoder:
    return ResponsesEncoder(ECHO, OutputItems(ORIGINS))


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


def test_no_event_is_sent_before_there_is_output() -> None:
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


def _ended(one: ResponsesEncoder, error: DroverError) -> dict[str, Any]:
    """The response in the only event that the error adds."""
    ((name, data),) = events_of(one.error_line(error).decode())
    assert name == "response.failed"
    response = data["response"]
    assert isinstance(response, dict)
    return response


def test_an_error_in_a_stream_ends_it_as_failed() -> None:
    """Without an `error` event, which Codex skips."""
    one = encoder()
    one.lines(content("Hel"))
    response = _ended(one, EngineFailed("it broke"))

    assert (response["status"], response["error"]) == (
        "failed",
        {"code": "server_error", "message": "service unavailable: it broke"},
    )
    assert response["output"][0]["content"][0]["text"] == "Hel"


def test_an_error_before_the_first_event_begins_the_response() -> None:
    """OpenAI's client refuses a stream that begins with anything but a response."""
    events = events_of(encoder().error_line(EngineFailed("it broke")).decode())

    assert names(events) == ["created", "in_progress", "failed"]
    assert [data["sequence_number"] for _, data in events] == [0, 1, 2]
    assert events[0][1]["response"]["id"] == events[2][1]["response"]["id"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ContextExceeded("too long", 10, 5), "context_length_exceeded"),
        (TemplateFailed("no such field"), "invalid_prompt"),
        (EngineStalled("it stalled"), "invalid_prompt"),
        (DeadlineExceeded("too slow"), "invalid_prompt"),
        (QueueFull("full"), "rate_limit_exceeded"),
        (EngineFailed("it broke"), "server_error"),
        (InternalError("a defect"), "server_error"),
    ],
)
def test_the_code_of_a_failed_response_says_whether_to_send_the_request_again(
    error: DroverError, code: str
) -> None:
    assert _ended(started_encoder(), error)["error"]["code"] == code


def test_a_full_queue_says_when_to_send_the_request_again() -> None:
    """Codex reads the pause from the message."""
    message = _ended(started_encoder(), QueueFull("full"))["error"]["message"]
    assert message.endswith("Please try again in 1s.")


def started_encoder() -> ResponsesEncoder:
    one = encoder()
    one.lines(content("a"))
    return one


def test_a_failed_response_has_the_usage_so_far() -> None:
    one = encoder()
    begun = pb.GenerateEvent(started=pb.Started(prompt_ids=[1, 2, 3], cached_tokens=2))
    begun.deltas.add(content="a", token_ids=[4], completion_tokens=1)
    one.lines(begun)
    one.token("b", 5)
    one.lines(content("c", 6))
    one.token("d", 7)
    one.token("e", 8)

    assert _ended(one, EngineFailed("it broke"))["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 8,
    }


def test_a_call_of_a_custom_tool_streams_its_input_as_plain_text() -> None:
    answer = (
        call(0, '{"inp', call_id="call_1", name="apply_patch"),
        call(0, 'ut": "*** Begin\\n'),
        call(0, '+\\"a\\" \\ud83d'),
        call(0, '\\ude00"}', complete=True),
        done(),
    )
    events = streamed(*answer)

    assert names(events)[2:] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
        "completed",
    ]
    added, *deltas, ended = (data for _, data in events[2:7])
    whole_input = '*** Begin\n+"a" \U0001f600'
    assert [delta["delta"] for delta in deltas] == ["*** Begin\n", '+"a" ', "\U0001f600"]
    assert ended["input"] == whole_input
    assert {"item_id", "output_index", "sequence_number", "type"} == deltas[0].keys() - {"delta"}
    item = events[-2][1]["item"]
    assert item == {
        "id": added["item"]["id"],
        "type": "custom_tool_call",
        "status": "completed",
        "call_id": "call_1",
        "name": "apply_patch",
        "input": whole_input,
    }
    assert added["item"] == {**item, "status": "in_progress", "input": ""}
    assert item["id"].startswith("ctc_")
    (collected,) = whole(*answer)["output"]
    assert collected["input"] == whole_input


def test_a_custom_tool_in_a_namespace_is_named_with_it() -> None:
    (item,) = whole(call(0, '{"input": "x"}', "c", "exec", complete=True), done())["output"]

    assert (item["type"], item["namespace"], item["name"]) == ("custom_tool_call", "functions", "exec")


def test_the_default_namespace_may_stand_in_front_of_a_name() -> None:
    (item,) = whole(call(0, '{"input": "x"}', "c", "functions.exec", complete=True), done())["output"]

    assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "exec", "x")


def test_arguments_of_another_form_are_one_delta_of_a_custom_tool() -> None:
    events = streamed(call(0, '{"patch": ', "c", "apply_patch"), call(0, '"x"}', complete=True), done())

    assert names(events)[2:6] == [
        "output_item.added",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    assert [events[3][1]["delta"], events[4][1]["input"], events[5][1]["item"]["input"]] == ["x"] * 3


def test_a_custom_tool_s_call_that_is_cut_off_has_the_input_so_far() -> None:
    (item,) = whole(call(0, '{"input": "ab\\', "c", "apply_patch"), done(pb.Done.LENGTH))["output"]

    assert (item["status"], item["input"]) == ("incomplete", "ab")


def test_a_tool_search_is_an_item_with_an_object_and_without_deltas() -> None:
    answer = (call(0, '{"query":', "c", "tool_search"), call(0, '"x"}', complete=True), done())
    events = streamed(*answer)

    assert names(events)[2:] == ["output_item.added", "output_item.done", "completed"]
    item = events[3][1]["item"]
    assert item == {
        "id": events[2][1]["item"]["id"],
        "type": "tool_search_call",
        "status": "completed",
        "call_id": "c",
        "execution": "client",
        "arguments": {"query": "x"},
    }
    assert events[2][1]["item"]["arguments"] == {}
    assert whole(*answer)["output"][0]["arguments"] == {"query": "x"}


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
