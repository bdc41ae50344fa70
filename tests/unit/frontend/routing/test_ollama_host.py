"""Conversion to and from Ollama's protocol, and of its errors."""

from __future__ import annotations

import json

import pytest

from drover.errors import (
    CapabilityMissing,
    ContextExceeded,
    DroverError,
    EngineFailed,
    InvalidRequest,
    QueueFull,
    WorkerUnreachable,
)
from drover.json_value import Json
from drover.names import ModelName
from drover.thinking import to_json
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.ollama.address import HostedModel
from frontend.routing.backends.ollama.body import not_honoured, route_and_body
from frontend.routing.backends.ollama.call import lines_of
from frontend.routing.backends.ollama.events import Events, read_line
from frontend.routing.backends.ollama.failures import refusal
from frontend.routing.backends.ollama.model_info import defaults_of, entry_of, model_of, unix_ns


@pytest.mark.parametrize(
    ("address", "url", "model", "name"),
    [
        ("ollama:http://gpu:11434/llama3.2", "http://gpu:11434", "llama3.2:latest", "llama3.2:latest"),
        ("ollama:http://gpu/org/m:7b#big", "http://gpu:11434", "org/m:7b", "big:latest"),
        ("ollama:https://gpu.example/m", "https://gpu.example:443", "m:latest", "m:latest"),
        ("ollama:http://[::1]:1/m", "http://[::1]:1", "m:latest", "m:latest"),
    ],
)
def test_addresses(address: str, url: str, model: str, name: str) -> None:
    hosted = HostedModel.parse(address)
    assert (hosted.url, hosted.model.short, hosted.name.short) == (url, model, name)


@pytest.mark.parametrize(
    "address",
    ["ollama:gpu:11434/m", "ollama:http://gpu:11434", "ollama:ftp://gpu/m", "ollama:http://u:p@gpu/m"],
)
def test_invalid_addresses(address: str) -> None:
    with pytest.raises(ValueError, match="ollama:http://gpu"):
        HostedModel.parse(address)


def test_a_chat_with_everything() -> None:
    request = pb.GenerateRequest(
        sampling=pb.Sampling(temperature=0.7, top_k=0, seed=-1, max_tokens=5, stop=["x"], logit_bias={1: 2}),
        think=pb.Think(mode=pb.Think.ON, level="high"),
        context=pb.ContextBudget(num_ctx=512, truncate=False, num_keep=4),
        json_schema='{"type":"object"}',
        top_logprobs=2,
        keep_alive_ns=1_500_000_000,
    )
    request.chat.messages.add(role="user", content="hi", images=[pb.Media(data=b"png")])
    request.chat.messages.add(
        role="assistant", tool_calls=[pb.ToolCall(id="c", name="f", arguments_json='{"a":1}')]
    )
    request.chat.messages.add(role="tool", content="7", tool_name="f", tool_call_id="c")
    request.chat.tools.add(name="f", description="d", parameters_json='{"type":"object"}')

    route, body = route_and_body(request, "m:7b")

    assert route == "/api/chat"
    options = {"temperature": 0.7, "top_k": 0, "seed": -1, "num_predict": 5, "stop": ["x"]}
    call = {"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert body == {
        "model": "m:7b",
        "stream": True,
        "options": {**options, "num_ctx": 512, "num_keep": 4},
        "format": {"type": "object"},
        "think": "high",
        "logprobs": True,
        "top_logprobs": 2,
        "keep_alive": "1500000000ns",
        "truncate": False,
        "messages": [
            {"role": "user", "content": "hi", "images": ["cG5n"]},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "7", "tool_name": "f", "tool_call_id": "c"},
        ],
        "tools": [{"type": "function", "function": function}],
    }
    assert not_honoured(request) == ["logit_bias"]


def test_prompts() -> None:
    prompt = pb.PromptInput(text="a", system="s", suffix="b", context=[1, 2])
    route, body = route_and_body(pb.GenerateRequest(prompt=prompt, keep_alive_ns=-1), "m")
    assert route == "/api/generate"
    assert body["prompt"] == "a"
    assert (body["system"], body["suffix"], body["context"], body["keep_alive"]) == ("s", "b", [1, 2], "-1s")
    route, body = route_and_body(pb.GenerateRequest(raw="<s>a"), "m")
    assert (route, body["prompt"], body["raw"]) == ("/api/generate", "<s>a", True)


@pytest.mark.parametrize(
    "request_", [pb.GenerateRequest(tokens=pb.TokenIds(ids=[1])), pb.GenerateRequest(raw="a", regex="b")]
)
def test_fields_that_ollamas_api_lacks(request_: pb.GenerateRequest) -> None:
    with pytest.raises(CapabilityMissing):
        route_and_body(request_, "m")


def test_tools_that_must_not_be_called_are_not_sent() -> None:
    request = pb.GenerateRequest(chat=pb.ChatInput(tools=[pb.Tool(name="f"), pb.Tool(name="g")]))
    request.tool_choice.mode = pb.ToolChoice.NONE
    assert "tools" not in route_and_body(request, "m")[1]
    request.tool_choice.CopyFrom(pb.ToolChoice(mode=pb.ToolChoice.NAMED, name="g"))
    assert len(json.dumps(route_and_body(request, "m")[1]["tools"]).split('"name"')) == 2
    assert not_honoured(request) == ["tool_choice"]


def test_the_grammar_of_a_custom_tool_is_named() -> None:
    request = pb.GenerateRequest()
    request.chat.tools.add(name="patch", input_grammar="start: /a/", input_syntax="lark")

    assert not_honoured(request) == ["tools.format"]


def _events(*lines: dict[str, object]) -> list[pb.GenerateEvent]:
    events = Events(["logit_bias"])
    return [events.event(read_line(json.dumps(line).encode())) for line in lines]


def test_a_stream_of_a_chat() -> None:
    call = {"id": "c", "function": {"index": 0, "name": "f", "arguments": {"a": 1}}}
    first, second, third, last = _events(
        {"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
        {"message": {"content": "Hi"}, "logprobs": [{"token": "Hi", "logprob": -0.5, "bytes": [72, 105]}]},
        {"message": {"content": "", "tool_calls": [call]}},
        {"message": {"content": ""}, "done": True, "done_reason": "length", "load_duration": 1,
         "prompt_eval_count": 3, "prompt_eval_cached_count": 1, "prompt_eval_duration": 2,
         "eval_count": 9, "eval_duration": 4},
    )  # fmt: skip
    assert list(first.started.not_honoured) == ["logit_bias"]
    assert [delta.thinking for delta in first.deltas] == ["hm"]
    assert not second.HasField("started")
    assert (second.deltas[0].content, second.deltas[0].logprobs[0].token) == ("Hi", b"Hi")
    piece = third.deltas[0].tool_calls[0]
    assert (piece.index, piece.id, piece.name, piece.arguments_fragment, piece.complete) == (
        0,
        "c",
        "f",
        '{"a":1}',
        True,
    )
    assert last.done.finish_reason == pb.Done.LENGTH
    assert (last.done.prompt_tokens, last.done.cached_tokens, last.done.completion_tokens) == (3, 1, 9)
    assert (last.done.timings.load_ns, last.done.timings.prefill_ns, last.done.timings.decode_ns) == (1, 2, 4)


def test_the_context_comes_with_done() -> None:
    _, last = _events(
        {"response": "Hi"}, {"response": "", "done": True, "done_reason": "stop", "context": [1, 2, 3]}
    )
    assert list(last.deltas[-1].token_ids) == [1, 2, 3]
    assert last.done.finish_reason == pb.Done.STOP


@pytest.mark.parametrize("line", [b"[]", b"{", b'{"error":"out of memory"}'])
def test_lines_that_end_it(line: bytes) -> None:
    with pytest.raises(EngineFailed):
        read_line(line)


def test_values_of_the_wrong_type_are_ignored() -> None:
    (event,) = _events(
        {"message": 7, "response": [], "logprobs": "x", "done": True, "eval_count": "many", "context": {}}
    )
    assert not event.deltas
    assert event.done.completion_tokens == 0


@pytest.mark.parametrize(
    ("status", "said", "error_type"),
    [
        (400, "bad option", InvalidRequest),
        (400, '"m" does not support thinking', CapabilityMissing),
        (400, "exceeds the available context size", ContextExceeded),
        (404, "model 'm' not found", WorkerUnreachable),
        (429, "slow down", QueueFull),
        (500, "cuda", EngineFailed),
        (501, "no embeddings", CapabilityMissing),
        (503, "server busy, please try again.  maximum pending requests exceeded", QueueFull),
        (503, "loading", WorkerUnreachable),
        (401, "key", EngineFailed),
        (302, "", EngineFailed),
    ],
)
def test_refusals(status: int, said: str, error_type: type[DroverError]) -> None:
    assert type(refusal(status, json.dumps({"error": said}).encode())) is error_type
    assert isinstance(refusal(status, said.encode()), DroverError)


def test_parameters_as_show_prints_them() -> None:
    sampling = defaults_of(
        'stop    "<|im_end|>"\nstop  "a b"\ntemperature  0.5\ntop_k 3\nnum_ctx 8\nnum_predict -1\nseed x'
    )
    assert list(sampling.stop) == ["<|im_end|>", "a b"]
    assert (sampling.temperature, sampling.top_k) == (0.5, 3)
    assert not sampling.HasField("max_tokens")
    assert not sampling.HasField("seed")


_SHOWN: dict[str, Json] = {
    "parameters": "temperature 0.5",
    "details": {"family": "llama", "parameter_size": "3B"},
    "model_info": {"general.architecture": "llama", "llama.context_length": 8192},
    "capabilities": ["completion", "tools"],
}


def test_a_card() -> None:
    hosted = HostedModel.parse("ollama:http://gpu:11434/llama3.2#big")
    tag: dict[str, Json] = {"digest": "ab" * 32, "size": 7, "modified_at": "1970-01-01T00:00:01Z"}
    model = model_of(hosted, _SHOWN, tag, "0.33.0")
    assert (list(model.names), model.digest, model.size_bytes) == (["big:latest"], "ab" * 32, 7)
    assert (model.context_length, model.family, model.modified_unix_ns) == (8192, "llama", 10**9)
    can = model.capabilities
    assert (can.completion, can.tools, can.json_constraint, can.vision, can.resume) == (1, 1, 1, 0, 0)
    assert model.defaults.temperature == 0.5
    with pytest.raises(WorkerUnreachable, match=r"does not list llama3\.2:latest"):
        model_of(hosted, _SHOWN, None, "")


def test_what_newer_servers_report() -> None:
    hosted = HostedModel.parse("ollama:http://gpu:11434/llama3.2#big")
    tag: dict[str, Json] = {"digest": "ab" * 32}
    thinking: Json = {"values": [False, "deep"], "default": "deep"}
    newer: dict[str, Json] = {
        "renderer": "r",
        "parser": "p",
        "requires": "0.35.0",
        "template_source": "harmony",
    }
    model = model_of(hosted, {**_SHOWN, **newer, "thinking": thinking}, tag, "0.40.12")
    assert (model.remote_model, model.remote_host) == ("llama3.2:latest", "http://gpu:11434")
    assert {name: getattr(model, name) for name in newer} == newer
    assert to_json(model.thinking) == thinking
    older = model_of(hosted, {**_SHOWN, "thinking": {"values": []}}, tag, "0.33.0")
    assert not older.HasField("thinking")
    assert (older.template_source, older.renderer) == ("", "")


def test_a_server_that_reports_little() -> None:
    """SGLang's own layer: a digest that is none, which must not make two models one."""
    one, other = (HostedModel.parse(f"ollama:http://gpu:30001/{name}") for name in ("one", "other"))
    tag: dict[str, Json] = {"digest": "sha256:sglang000"}
    digests = {model_of(each, {}, tag, "").digest for each in (one, other)}
    assert len(digests) == 2
    assert all(len(digest) == 64 for digest in digests)
    assert model_of(one, {}, tag, "").capabilities.completion


def test_times_and_entries() -> None:
    assert unix_ns("1970-01-01T00:00:01.5Z") == 1_500_000_000
    assert unix_ns("1970-01-01T01:00:01.123456789+01:00") == 1_123_456_000
    assert unix_ns("yesterday") == unix_ns(None) == 0
    wanted = ModelName.parse("M:Latest")
    assert wanted is not None
    assert entry_of([7, {"name": "n:latest"}, {"model": "m:latest", "size": 1}], wanted) == {
        "model": "m:latest",
        "size": 1,
    }
    assert entry_of(None, wanted) is None


async def test_lines_are_whole_and_bounded() -> None:
    async def chunks(*pieces: bytes):  # type: ignore[no-untyped-def]  # a list as a stream
        for piece in pieces:
            yield piece

    assert [line async for lines in lines_of(chunks(b"a\n\nb", b"c\nd", b"e"), 10) for line in lines] == [
        b"a",
        b"bc",
        b"de",
    ]
    with pytest.raises(EngineFailed, match="longer than 10 bytes"):
        [lines async for lines in lines_of(chunks(b"a\n" + b"x" * 6, b"x" * 6), 10)]
