"""Requests with a schema in each dialect, and the text of their responses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

Json = dict[str, object]
NOT_HONOURED = "x-drover-not-honoured"
DIALECTS = ("/api/chat", "/api/generate", "/v1/chat/completions", "/v1/responses", "/v1/messages")


@dataclass(frozen=True, slots=True)
class FormatAnswer:
    status: int
    text: str
    not_honoured: str
    is_cut: bool


def ask(
    url: str, path: str, model: str, schema: object, prompt: str, most: int = 120, stream: bool = False
) -> FormatAnswer:
    body = {"model": model, "stream": stream, **_body(path, schema, prompt, most)}
    with httpx.stream("POST", f"{url}{path}", json=body, timeout=120) as answer:
        raw = answer.read().decode()
        header = answer.headers.get(NOT_HONOURED, "")
    if answer.status_code != 200:
        return FormatAnswer(answer.status_code, raw, header, is_cut=False)
    text, is_cut = _streamed(path, raw) if stream else _whole(path, json.loads(raw))
    return FormatAnswer(200, text, header, is_cut)


def _body(path: str, schema: object, prompt: str, most: int) -> Json:
    messages = [{"role": "user", "content": prompt}]
    named = {"type": "json_schema", "name": "thing", "schema": schema}
    options = {"temperature": 0, "num_predict": most}
    match path:
        case "/api/chat":
            return {"messages": messages, "format": schema, "options": options}
        case "/api/generate":
            return {"prompt": prompt, "format": schema, "options": options}
        case "/v1/chat/completions":
            wanted = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}
            return {"messages": messages, "response_format": wanted, "temperature": 0, "max_tokens": most}
        case "/v1/responses":
            return {"input": prompt, "text": {"format": named}, "temperature": 0, "max_output_tokens": most}
        case _:
            config = {"format": {"type": "json_schema", "schema": schema}}
            return {"messages": messages, "output_config": config, "temperature": 0, "max_tokens": most}


def _whole(path: str, answer: Mapping[str, object]) -> tuple[str, bool]:
    found: dict[str, object] = {"text": [], "reasons": []}
    _collect(answer, found)
    texts, reasons = found["text"], found["reasons"]
    assert isinstance(texts, list)
    assert isinstance(reasons, list)
    return "".join(texts), any(reason in reasons for reason in ("length", "max_tokens", "max_output_tokens"))


def _streamed(path: str, raw: str) -> tuple[str, bool]:
    lines = [
        line.removeprefix("data: ") for line in raw.splitlines() if line and not line.startswith("event:")
    ]
    events = [json.loads(line) for line in lines if line != "[DONE]"]
    if path == "/v1/responses":
        return _whole(path, events[-1]["response"])
    wholes = [_whole(path, event) for event in events]
    return "".join(text for text, _ in wholes), any(is_cut for _, is_cut in wholes)


def _collect(value: object, found: dict[str, object]) -> None:
    """Texts and reasons, wherever a dialect puts them."""
    texts, reasons = found["text"], found["reasons"]
    assert isinstance(texts, list)
    assert isinstance(reasons, list)
    if isinstance(value, list):
        for each in value:
            _collect(each, found)
    elif isinstance(value, dict):
        for name, each in value.items():
            if (name in ("response", "text") and isinstance(each, str)) or (
                name == "content" and isinstance(each, str)
            ):
                texts.append(each)
            elif name in ("done_reason", "finish_reason", "stop_reason", "reason") and each:
                reasons.append(each)
            else:
                _collect(each, found)
