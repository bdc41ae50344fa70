"""The bytes of /api/chat's responses."""

from __future__ import annotations

import json
import re
import time

import pytest

from drover.v1 import engine_pb2 as pb
from frontend.api.ollama.encode import ChatShape, OllamaEncoder
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

_END = (
    b'"done":true,"done_reason":"stop","total_duration":N,"load_duration":N,"prompt_eval_count":16,'
    b'"prompt_eval_cached_count":0,"prompt_eval_duration":9851000,"eval_count":8,"eval_duration":56104000}'
)
_CALL_ID = re.compile(rb'"id":"call_[a-z0-9]{8}"')


def _encoder(model: str = "m") -> OllamaEncoder:
    return OllamaEncoder(model, ChatShape(), time.perf_counter_ns())


def _message(members: bytes, end: bytes = b'"done":false}') -> bytes:
    return b'{"model":"m","created_at":"T","message":{"role":"assistant","content":' + members + b"}," + end


def _without_numbers(line: bytes) -> dict[str, object]:
    return {
        key: None if isinstance(value, int) and not isinstance(value, bool) else value
        for key, value in json.loads(line).items()
        if key not in {"model", "created_at"}
    }


def test_a_delta_is_one_line() -> None:
    assert fixed(_encoder().lines(content("Paris"))) == _message(b'"Paris"') + b"\n"


def test_events_without_output_have_no_line() -> None:
    encoder = _encoder()

    assert encoder.lines(started(1, 2)) == b""
    assert encoder.lines(content("", 7)) == b""
    assert encoder.lines(pb.GenerateEvent()) == b""


def test_several_deltas_and_the_end_in_one_message_are_several_lines() -> None:
    event = joined(started(1), thinking("hm"), content("A"), done())

    assert fixed(_encoder().lines(event)).split(b"\n") == [
        _message(b'"","thinking":"hm"'),
        _message(b'"A"'),
        _message(b'""', _END),
        b"",
    ]


def test_html_and_line_separators_are_escaped_everywhere() -> None:
    line = _encoder("<m>").lines(content("<b>&\u2028\n"))

    assert rb'"model":"\u003cm\u003e"' in line
    assert rb'"content":"\u003cb\u003e\u0026\u2028\n"' in line
    assert line.count(b"\n") == 1


def test_a_tool_call_is_joined_from_its_fragments() -> None:
    encoder = _encoder()

    assert encoder.lines(call(0, '{"b":"<', "call_1", "get_weather")) == b""
    assert encoder.lines(call(0, '>",')) == b""
    assert fixed(encoder.lines(call(0, '"a":[1, 2.50]}', complete=True))) == (
        _message(
            b'"","tool_calls":[{"id":"call_1","function":{"index":0,"name":"get_weather",'
            rb'"arguments":{"b":"\u003c\u003e","a":[1,2.5]}}}]'
        )
        + b"\n"
    )


def test_calls_without_arguments_and_without_ids_get_both() -> None:
    line = fixed(_encoder().lines(call(1, name="f", complete=True)))

    assert _CALL_ID.search(line)
    assert b'"function":{"index":1,"name":"f","arguments":{}}' in line


@pytest.mark.parametrize("fragment", ['{"city": ', '{"a":1}', ""])
@pytest.mark.parametrize("stream", [True, False])
def test_an_incomplete_call_is_not_shown(fragment: str, stream: bool) -> None:
    events = [call(1, fragment, "c1", "g"), call(0, fragment, "c0", "f"), done()]
    encoder = _encoder()

    shown = b"".join(encoder.lines(each) for each in events) if stream else encoder.body(events)

    assert fixed(shown.removesuffix(b"\n")) == _message(b'""', _END)


@pytest.mark.parametrize("stream", [True, False])
def test_the_recorded_broken_call(stream: bool) -> None:
    recorded = scripted_case(f"chat #brokentool {'stream' if stream else 'whole'} tools")
    events = [call(0, name="get_weather"), call(0, '{"city": '), done()]
    encoder = _encoder()

    shown = b"".join(encoder.lines(each) for each in events) if stream else encoder.body(events)

    assert [_without_numbers(line) for line in shown.splitlines()] == [
        _without_numbers(line.encode()) for line in recorded.answer.splitlines()
    ]


@pytest.mark.parametrize("fragment", ['{"city":"Par', "{", "not JSON", '"text"', "[1]"])
@pytest.mark.parametrize("complete", [False, True])
def test_an_invalid_call_does_not_break_the_stream(fragment: str, complete: bool) -> None:
    encoder = _encoder()
    encoder.lines(call(0, fragment, "c0", "f", complete))

    last = json.loads(encoder.lines(done(pb.Done.LENGTH)))

    assert (last["done"], last["done_reason"]) == (True, "length")
    for each in last["message"].get("tool_calls", []):
        assert isinstance(each["function"]["arguments"], dict)


def test_logprobs_follow_done() -> None:
    entry = logprob(b" of", -0.5, (b" of", -0.5), (b"\xf0\x9f", -2.0))

    assert fixed(_encoder().lines(content(" of", logprobs=(entry,)))) == (
        _message(b'" of"').removesuffix(b"}")
        + b',"logprobs":[{"token":" of","logprob":-0.5,"bytes":[32,111,102],"top_logprobs":['
        + b'{"token":" of","logprob":-0.5,"bytes":[32,111,102]},'
        + '{"token":"\ufffd","logprob":-2.0,"bytes":[240,159]}]}]}\n'.encode()
    )


@pytest.mark.parametrize("value", [float("nan"), float("-inf"), -3.4028234663852886e38, -10_000.0])
def test_log_probabilities_are_finite(value: float) -> None:
    line = _encoder().lines(content("a", logprobs=(logprob(b"a", value, (b"a", value)),)))

    assert line.count(b'"logprob":-9999.0') == 2


def test_logprobs_of_a_token_without_text_are_a_line() -> None:
    line = fixed(_encoder().lines(content("", logprobs=(logprob(b"", -1.0),))))

    assert line == _message(b'""').removesuffix(b"}") + b',"logprobs":[{"token":"","logprob":-1.0}]}\n'


def test_a_response_without_streaming() -> None:
    events = [
        started(1),
        thinking("hm"),
        thinking("?"),
        joined(content("Pa", logprobs=(logprob(b"Pa", -1.0),)), content("ris")),
        call(0, "{}", "c0", "f", complete=True),
        done(),
    ]

    assert fixed(_encoder().body(events)) == (
        _message(
            b'"Paris","thinking":"hm?","tool_calls":[{"id":"c0","function":'
            b'{"index":0,"name":"f","arguments":{}}}]',
            _END.replace(b'"total', b'"logprobs":[{"token":"Pa","logprob":-1.0,"bytes":[80,97]}],"total'),
        )
    )


def test_an_empty_response_without_streaming() -> None:
    assert fixed(_encoder().body([done()])) == _message(b'""', _END)


@pytest.mark.parametrize("name", ["chat plain", "chat length", "chat logprobs"])
def test_keys_are_in_the_recorded_order(name: str) -> None:
    entries = (logprob(b"T", -1.0, (b"T", -1.0)),) if name == "chat logprobs" else ()
    reason = pb.Done.LENGTH if name != "chat plain" else pb.Done.STOP
    written = json.loads(_encoder().body([content("T", logprobs=entries), done(reason)]))
    recorded = json.loads(case(name).answer)

    assert list(written) == list(recorded)
    assert list(written["message"]) == list(recorded["message"])
    assert written["done_reason"] == recorded["done_reason"]


def test_load_unload_and_render() -> None:
    assert fixed(_encoder().plain("load")) == _message(b'""', b'"done":true,"done_reason":"load"}')
    assert fixed(_encoder().plain("unload")) == _message(b'""', b'"done":true,"done_reason":"unload"}')
    assert fixed(_encoder().rendered("<p>")) == _message(
        b'""', rb'"done":false,"_debug_info":{"rendered_template":"\u003cp\u003e"}}'
    ).replace(b'"role":"assistant"', b'"role":""')
    assert list(json.loads(_encoder().rendered("p"))) == list(json.loads(case("chat debug render").answer))
