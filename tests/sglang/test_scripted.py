"""Pieces of model output, and what a real Ollama made of them, through SGLang's parsers and both tiers.

The engine's tokens are scripted (tests/fakes/scripted_sglang.py); the recordings are the `/api` records of
the scripted recording. What differs on purpose is listed with its reason.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.fakes.scripted_sglang_names import SCRIPTS
from tests.fakes.transcripts import Exchange, scripted_exchanges, scripted_template, scripts
from tests.support.processes import ROOT, Stack, frontend, worker

# Times, random ids, and what depends on the tokenizer: the recorded engine always said 21 prompt tokens.
_MASKED = {
    "created_at",
    "total_duration",
    "load_duration",
    "prompt_eval_duration",
    "eval_duration",
    "prompt_eval_count",
    "prompt_eval_cached_count",
    "context",
}
_NOT_OFFERED = (
    "upstream drops a call of a function that was not offered and answers with no text; here what is no call "
    "is text, whole"
)
_DIFFERENT = {
    "format after thinking": "upstream asks its engine anew once the thinking is over, and the script begins "
    "again; here one grammar waits for the end of the thinking",
    "#die": "upstream ends the stream without a word when its engine is gone; ours says so",
    "#badtool stream tools": _NOT_OFFERED,
    "#badtool whole tools": _NOT_OFFERED,
}

CASES = [
    exchange
    for exchange in scripted_exchanges()
    if exchange.path in ("/api/chat", "/api/generate")
    and not any(name in exchange.case for name in _DIFFERENT)
]


@pytest.fixture(scope="module", params=["jinja", "gotmpl"])
def scripted(
    request: pytest.FixtureRequest, thinker_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """With a Jinja template that says the same as the recorded one, and with the recorded one itself."""
    folder = tmp_path_factory.mktemp("scripted")
    (folder / "scripts.json").write_text(json.dumps(scripts()))
    template = ROOT / "tests/fakes/thinker.jinja"
    if request.param == "gotmpl":
        template = folder / "thinker.gotmpl"
        template.write_text(scripted_template())
    flags = (
        *("--engine", "sglang", "--model", str(thinker_model), "--name", "thinker:latest"),
        *("--chat-template", str(template)),
        # A template that only shows tags is not enough to find the parsers by.
        "--sglang-args=--reasoning-parser qwen3 --tool-call-parser qwen25",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, SCRIPTS, str(folder / "scripts.json"))
        with (
            worker(folder / "worker.log", *flags, module="tests.fakes.scripted_sglang") as one,
            frontend(folder / "frontend.log", [one.address]) as other,
        ):
            yield Stack(one, other)


@pytest.fixture
def http(scripted: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=scripted.url, timeout=60) as client:
        yield client


def test_there_are_recordings() -> None:
    assert len(CASES) > 80


@pytest.mark.parametrize("exchange", CASES, ids=str)
def test_responses_equal_the_recorded_ones(http: httpx.Client, exchange: Exchange) -> None:
    answer = http.post(exchange.path, content=exchange.body)
    assert answer.status_code == exchange.status
    assert answer.headers["content-type"] == exchange.content_type
    assert _masked(answer.text) == _masked(exchange.answer)


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate"])
@pytest.mark.parametrize("stream", [True, False])
def test_an_engine_that_breaks_down_is_reported(http: httpx.Client, path: str, stream: bool) -> None:
    prompt = (
        {"messages": [{"role": "user", "content": "#die"}]} if path.endswith("chat") else {"prompt": "#die"}
    )
    answer = http.post(path, json={"model": "thinker", "stream": stream, **prompt})
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert "error" in lines[-1]
    if stream:
        assert answer.status_code == 200
        assert "".join(_text(line) for line in lines[:-1]) == "Hello wor"
    else:
        assert answer.status_code == 500


@pytest.mark.parametrize("stream", [True, False])
def test_a_call_of_a_function_that_was_not_offered_is_text(http: httpx.Client, stream: bool) -> None:
    function = {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}
    body = {
        "model": "thinker",
        "messages": [{"role": "user", "content": "#badtool"}],
        "tools": [{"type": "function", "function": function}],
        "stream": stream,
    }
    lines = [json.loads(line) for line in http.post("/api/chat", json=body).text.splitlines()]
    text = '<tool_call>\n{"name": "unknown_fn", "arguments": {"a": 1}}\n</tool_call>'
    assert "".join(_text(line) for line in lines) == text
    assert not any("tool_calls" in line["message"] for line in lines)
    assert lines[-1]["done_reason"] == "stop"


@pytest.mark.parametrize("stream", [True, False])
def test_a_format_holds_after_the_thinking(http: httpx.Client, stream: bool) -> None:
    body = {
        "model": "thinker",
        "messages": [{"role": "user", "content": "#thinkjson"}],
        "format": {"type": "object", "properties": {"city": {"type": "string"}}},
        "stream": stream,
    }
    lines = [json.loads(line) for line in http.post("/api/chat", json=body).text.splitlines()]
    assert "".join(line["message"].get("thinking", "") for line in lines) == "hm"
    assert "".join(line["message"]["content"] for line in lines) == '{"city": "Paris"}'


def _text(line: dict[str, object]) -> str:
    message = line.get("message")
    return str(message["content"]) if isinstance(message, dict) else str(line.get("response", ""))


def _masked(text: str) -> list[object]:
    return [_without(json.loads(line)) for line in text.splitlines()]


def _without(value: object) -> object:
    if isinstance(value, list):
        return [_without(item) for item in value]
    if not isinstance(value, dict):
        return value
    kept = {key: _without(item) for key, item in value.items() if key not in _MASKED}
    if "function" in kept and "id" in kept:
        assert str(kept.pop("id")).startswith("call_")
    return kept
