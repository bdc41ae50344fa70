"""Requests to Ollama's routes, and checks of their responses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx

JSON = "application/json; charset=utf-8"
NDJSON = "application/x-ndjson"
PLAIN = "text/plain"
QUESTION = "What is the capital of France?"
PARIS = "The capital of France is Paris."
# A time with its zone, without a trailing zero in the fraction; and the same in UTC.
ZONED = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?(Z|[+-]\d\d:\d\d)")
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z")
INFERENCE = ("chat", "generate")
CHAT_END = [
    "model", "created_at", "message", "done", "done_reason", "total_duration", "load_duration",
    "prompt_eval_count", "prompt_eval_cached_count", "prompt_eval_duration", "eval_count", "eval_duration",
]  # fmt: skip
GENERATE_END = [
    "model", "created_at", "response", "done", "done_reason", "context", "total_duration", "load_duration",
    "prompt_eval_count", "prompt_eval_cached_count", "prompt_eval_duration", "eval_count", "eval_duration",
]  # fmt: skip


def ask(http: httpx.Client, path: str, body: object) -> httpx.Response:
    return http.post(f"/api/{path}", content=json.dumps(body))


def chat_message(content: str = QUESTION, role: str = "user", **more: object) -> list[dict[str, object]]:
    return [{"role": role, "content": content, **more}]


def inference(path: str, content: str = QUESTION, model: str = "smol", **more: object) -> dict[str, object]:
    """A body for chat or generate: greedy, three tokens, not streamed, unless `more` says otherwise."""
    text = {"messages": chat_message(content)} if path == "chat" else {"prompt": content}
    body = {"model": model, **text, "stream": False, "options": {"temperature": 0, "num_predict": 3}, **more}
    return {key: value for key, value in body.items() if value is not ...}


def answered(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    value = response.json()
    assert isinstance(value, dict)
    return value


def text_of(answer: dict[str, Any]) -> str:
    """The answer's text: the message's content of chat, the response of generate."""
    text = answer["message"]["content"] if "message" in answer else answer["response"]
    assert isinstance(text, str)
    return text


def lines_of(response: httpx.Response) -> list[dict[str, Any]]:
    assert (response.status_code, response.headers["content-type"]) == (200, NDJSON), response.text
    assert response.text.endswith("}\n")
    return [json.loads(line) for line in response.text.removesuffix("\n").split("\n")]


def assert_refused(response: httpx.Response, status: int, error: str) -> None:
    assert (response.status_code, response.json()) == (status, {"error": error})
    assert response.headers["content-type"] == JSON


def rendered(http: httpx.Client, path: str, body: Mapping[str, object]) -> str:
    """The rendered prompt."""
    answer = answered(ask(http, path, {**body, "_debug_render_only": True}))
    text = answer["_debug_info"]["rendered_template"]
    assert isinstance(text, str)
    return text


@contextmanager
def preset(http: httpx.Client, name: str, **body: object) -> Iterator[str]:
    """Create a model from `smol`, and delete it at the end."""
    made = ask(http, "create", {"model": name, "from": "smol", "stream": False, **body})
    assert (made.status_code, made.json()) == (200, {"status": "success"})
    try:
        yield name
    finally:
        assert delete(http, name).status_code == 200


def delete(http: httpx.Client, name: str) -> httpx.Response:
    return http.request("DELETE", "/api/delete", content=json.dumps({"model": name}))
