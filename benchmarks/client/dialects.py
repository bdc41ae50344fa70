"""APIs of the load client: the request for a streamed response, and the meaning of its lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import orjson

Message = Mapping[str, str]
Name = Literal["chat", "generate", "openai", "anthropic"]
_DATA = b"data: "


class Refused(Exception):
    """The server sent an error instead of text."""


@dataclass(frozen=True, slots=True)
class Line:
    """`text`: of the answer, empty in lines that carry none; `tokens`: the server's own count, once it says
    it; `last`: nothing may come after it.
    """

    text: str = ""
    tokens: int = 0
    last: bool = False


@dataclass(frozen=True, slots=True)
class Dialect:
    """`read` raises Refused for an error; ValueError, TypeError or LookupError for an invalid line."""

    path: str
    body: Callable[[str, Sequence[Message], int], Mapping[str, object]]
    read: Callable[[bytes], Line]


NOTHING = Line()


def _chat_body(model: str, messages: Sequence[Message], tokens: int) -> Mapping[str, object]:
    return {"model": model, "messages": messages, "stream": True, "options": _options(tokens)}


def _generate_body(model: str, messages: Sequence[Message], tokens: int) -> Mapping[str, object]:
    prompt = "\n".join(message["content"] for message in messages)
    return {"model": model, "prompt": prompt, "stream": True, "options": _options(tokens)}


def _options(tokens: int) -> Mapping[str, object]:
    return {"num_predict": tokens, "temperature": 0}


def _v1_body(model: str, messages: Sequence[Message], tokens: int) -> Mapping[str, object]:
    return {"model": model, "messages": messages, "stream": True, "max_tokens": tokens, "temperature": 0}


def _read_chat(line: bytes) -> Line:
    value = orjson.loads(line)
    if "error" in value:
        raise Refused(str(value["error"]))
    message = value["message"]
    # Reasoning arrives token by token too.
    text = message["content"] or message.get("thinking", "")
    return Line(text, value.get("eval_count") or 0, value["done"])


def _read_generate(line: bytes) -> Line:
    value = orjson.loads(line)
    if "error" in value:
        raise Refused(str(value["error"]))
    text = value["response"] or value.get("thinking", "")
    return Line(text, value.get("eval_count") or 0, value["done"])


def _read_openai(line: bytes) -> Line:
    if not line.startswith(_DATA):
        return NOTHING
    if line == b"data: [DONE]":
        return Line(last=True)
    value = orjson.loads(line[len(_DATA) :])
    if "error" in value:
        raise Refused(str(value["error"]))
    tokens = (value.get("usage") or {}).get("completion_tokens", 0)
    choices = value["choices"]
    return Line(choices[0]["delta"].get("content") or "" if choices else "", tokens)


def _read_anthropic(line: bytes) -> Line:
    if not line.startswith(_DATA):
        return NOTHING
    value = orjson.loads(line[len(_DATA) :])
    match value["type"]:
        case "content_block_delta":
            delta = value["delta"]
            return Line(delta.get("text") or delta.get("thinking") or "")
        case "message_delta":
            return Line(tokens=value["usage"]["output_tokens"])
        case "message_stop":
            return Line(last=True)
        case "error":
            raise Refused(str(value["error"]))
        case _:
            return NOTHING


DIALECTS: Mapping[Name, Dialect] = {
    "chat": Dialect("/api/chat", _chat_body, _read_chat),
    "generate": Dialect("/api/generate", _generate_body, _read_generate),
    "openai": Dialect("/v1/chat/completions", _v1_body, _read_openai),
    "anthropic": Dialect("/v1/messages", _v1_body, _read_anthropic),
}
