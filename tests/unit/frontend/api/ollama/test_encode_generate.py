"""The bytes of /api/generate's responses, and the metrics that both routes share."""

from __future__ import annotations

import json
import time

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.api.ollama.encode import GenerateShape, OllamaEncoder
from tests.fakes.transcripts import case, scripted_case
from tests.unit.frontend.api.events import (
    call,
    content,
    done,
    fixed,
    joined,
    logprob,
    started,
    thinking,
)

_METRICS = (
    b'"total_duration":N,"load_duration":N,"prompt_eval_count":16,'
    b'"prompt_eval_cached_count":0,"prompt_eval_duration":9851000,"eval_count":8,"eval_duration":56104000'
)
_HEAD = b'{"model":"m","created_at":"T","response":'


def _encoder(raw: bool = False) -> OllamaEncoder:
    return OllamaEncoder("m", GenerateShape(raw), time.perf_counter_ns())


def test_a_stream_with_thinking_and_a_context_of_all_tokens() -> None:
    encoder = _encoder()

    assert encoder.lines(started(1, 2)) == b""
    assert fixed(encoder.lines(thinking("hm"))) == _HEAD + b'"","thinking":"hm","done":false}\n'
    assert fixed(encoder.lines(content("A", 7, 8))) == _HEAD + b'"A","done":false}\n'
    assert fixed(encoder.lines(content("", 9))) == _HEAD + b'"","done":false}\n'
    assert fixed(encoder.lines(done())) == (
        _HEAD + b'"","done":true,"done_reason":"stop","context":[1,2,7,8,9],' + _METRICS + b"}\n"
    )


def _shown(lines: bytes) -> list[tuple[str, str]]:
    objects = [json.loads(line) for line in lines.splitlines()]
    return [(each["response"], each.get("thinking", "")) for each in objects]


@pytest.mark.parametrize(
    ("name", "deltas"),
    [
        (
            "generate #think stream",
            [
                content("", 1),
                *map(thinking, ("Let me", " see", ".\n")),
                content("", 2),
                content("", 3),
                *map(content, ("Paris", " it is.")),
            ],
        ),
        ("generate #space stream", [content("", 1), content("  x", 2), content("  ", 3)]),
        ("generate #thinkonly stream", [content("", 1), thinking("Only thought")]),
    ],
)
def test_text_that_a_parser_drops_is_an_empty_object_as_recorded(
    name: str, deltas: list[pb.GenerateEvent]
) -> None:
    encoder = _encoder()

    lines = b"".join(encoder.lines(event) for event in [started(1), *deltas, done()])

    assert _shown(lines) == _shown(scripted_case(name).answer.encode())


def test_events_without_text_and_tokens_have_no_line() -> None:
    assert _encoder().lines(content("")) == b""


def test_the_tokens_of_a_stop_text_are_in_the_context_and_no_object() -> None:
    end = done()
    end.done.matched_stop = "stop"
    encoder = _encoder()

    lines = encoder.lines(joined(content("A", 7), pb.GenerateEvent(deltas=content("", 8).deltas), end))

    assert _shown(lines) == [("A", ""), ("", "")]
    assert json.loads(lines.splitlines()[-1])["context"] == [7, 8]


def test_ids_sent_with_the_end_are_in_the_context_and_no_object() -> None:
    """llama.cpp's "generate #think stream"; what is swallowed before is an object, as recorded above."""
    encoder = _encoder()

    lines = b"".join(map(encoder.lines, (content("A"), joined(content("", 7, 8), done()))))

    assert _shown(lines) == [("A", ""), ("", "")]
    assert json.loads(lines.splitlines()[-1])["context"] == [7, 8]


def test_a_call_next_to_a_stop_text_is_kept() -> None:
    end = done()
    end.done.matched_stop = "stop"

    line = _encoder().lines(joined(call(0, "{}", "c0", "f", complete=True), end)).splitlines()[0]

    assert json.loads(line)["tool_calls"]


def test_a_whole_answer_in_one_event() -> None:
    event = joined(started(1), content("A", 7), done(pb.Done.LENGTH))

    assert fixed(_encoder().lines(event)) == (
        _HEAD
        + b'"A","done":false}\n'
        + _HEAD
        + b'"","done":true,"done_reason":"length","context":[1,7],'
        + _METRICS
        + b"}\n"
    )


def test_a_raw_request_gets_no_context() -> None:
    encoder = _encoder(raw=True)
    encoder.lines(joined(started(1), content("A", 7)))

    assert fixed(encoder.lines(done())) == (
        _HEAD + b'"","done":true,"done_reason":"stop",' + _METRICS + b"}\n"
    )


def test_logprobs_without_streaming_are_at_the_end() -> None:
    events = [started(1), content("A", 7, logprobs=(logprob(b"A", -1.0),)), done()]

    assert fixed(_encoder().body(events)) == (
        _HEAD
        + b'"A","done":true,"done_reason":"stop","context":[1,7],'
        + _METRICS
        + b',"logprobs":[{"token":"A","logprob":-1.0,"bytes":[65]}]}'
    )


def test_a_tool_call_comes_with_the_text() -> None:
    line = fixed(_encoder().lines(call(0, '{"a":1}', "c0", "f", complete=True)))

    assert line == (
        _HEAD + b'"","tool_calls":[{"id":"c0","function":{"index":0,"name":"f","arguments":{"a":1}}}],'
        b'"done":false}\n'
    )


@pytest.mark.parametrize("name", ["generate plain", "generate raw", "generate logprobs"])
def test_keys_are_in_the_recorded_order(name: str) -> None:
    entries = (logprob(b"T", -1.0),) if name == "generate logprobs" else ()
    encoder = _encoder(raw=name == "generate raw")
    written = json.loads(encoder.body([started(1), content("T", 2, logprobs=entries), done()]))

    assert list(written) == list(json.loads(case(name).answer))


def test_load_unload_and_render() -> None:
    assert fixed(_encoder().plain("load")) == _HEAD + b'"","done":true,"done_reason":"load"}'
    assert fixed(_encoder().plain("unload")) == _HEAD + b'"","done":true,"done_reason":"unload"}'
    assert fixed(_encoder().rendered("p")) == (
        _HEAD + b'"","done":false,"_debug_info":{"rendered_template":"p"}}'
    )


def test_zero_durations_are_a_nanosecond_and_zero_counts_are_omitted() -> None:
    last = json.loads(_encoder().lines(done(prompt_tokens=0, completion_tokens=0, timings=pb.Timings())))

    assert last["prompt_eval_duration"] == last["eval_duration"] == last["load_duration"] == 1
    assert "prompt_eval_count" not in last
    assert last["prompt_eval_cached_count"] == 0
    assert "eval_count" not in last


def test_durations_of_the_request_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "perf_counter_ns", lambda: 1_000_100)
    encoder = OllamaEncoder("m", GenerateShape(raw=True), received_ns=100)
    timings = pb.Timings(queue_ns=200_000, load_ns=100_000, prefill_ns=300_000, decode_ns=400_000)

    last = json.loads(encoder.lines(done(timings=timings)))

    assert last["total_duration"] == 1_000_000
    assert last["load_duration"] == 300_000
    parts = last["load_duration"] + last["prompt_eval_duration"] + last["eval_duration"]
    assert parts <= last["total_duration"]


def test_durations_are_integers_and_a_queue_never_makes_loading_longer_than_the_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "perf_counter_ns", lambda: 1_000)
    encoder = OllamaEncoder("m", GenerateShape(raw=True), received_ns=0)

    last = json.loads(encoder.lines(done(timings=pb.Timings(queue_ns=10**12, prefill_ns=600, decode_ns=300))))

    assert last["load_duration"] == 100
    assert all(isinstance(last[key], int) for key in last if key.endswith(("duration", "count")))
