"""OpenAI's messages to neutral ones (ollama-contract.md, "OpenAI: chat completions")."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from drover.errors import InvalidRequest
from frontend.api.core.go_json import Json
from frontend.api.core.images import decoded_image
from frontend.api.core.request import MAX_MESSAGES, Message, ToolCall, check_count
from frontend.api.core.typed_fields import FieldPath, Reader, anything, integer, read_struct, text
from frontend.api.tool_calls import sent_arguments

_BAD_FORMAT = "invalid message format"
_GO_TYPES: dict[type, str] = {
    type(None): "<nil>",
    bool: "bool",
    int: "float64",
    float: "float64",
    dict: "map[string]interface {}",
}


def read_messages(values: Sequence[Json]) -> tuple[list[Message], bool]:
    """The neutral messages, and whether any has audio. Raises InvalidRequest with Ollama's messages."""
    check_count("messages", len(values), MAX_MESSAGES)
    names: dict[str, str] = {}
    messages, has_audio = [], False
    for value in values:
        message, audio = _message(value, names)
        messages.append(message)
        has_audio = has_audio or audio
    return messages, has_audio


@dataclass(slots=True)
class _Content:
    """A message's content, whose parts are joined to one message.

    Ollama makes a message of each part, so that tool results lose their call's id.
    """

    texts: list[str] = field(default_factory=list)
    media: list[bytes] = field(default_factory=list)
    has_audio: bool = False


def _message(value: Json, names: dict[str, str]) -> tuple[Message, bool]:
    """The neutral message, and whether it has audio.

    `names`: names of the functions called so far, by the call's id; the message's own calls are added.
    """
    fields = read_struct(value, "Message", _MESSAGE, "openai.Message")
    calls = [*cast(list[ToolCall], fields.get("tool_calls", [])), *_older_call(fields)]
    names.update({call.id: call.name for call in calls if call.id})
    # A refusal is the assistant's output, too.
    sent = cast(Json, fields.get("content") if fields.get("content") is not None else fields.get("refusal"))
    content = _content(sent, has_calls="tool_calls" in fields or bool(calls))
    role = str(fields.get("role", "")).lower()
    role = "tool" if role == "function" else role
    call_id = str(fields.get("tool_call_id", ""))
    message = Message(
        # OpenAI's later name of the role that chat templates call system.
        role="system" if role == "developer" else role,
        content="\n".join(content.texts),
        thinking=str(fields.get("reasoning") or fields.get("reasoning_content") or ""),
        images=content.media,
        tool_calls=calls,
        tool_name=(str(fields.get("name", "")) or names.get(call_id, "")) if role == "tool" else "",
        tool_call_id=call_id,
    )
    return message, content.has_audio


def _older_call(fields: dict[str, object]) -> list[ToolCall]:
    """The call in OpenAI's former shape: one for each message, without an id."""
    call = fields.get("function_call")
    return [_function_of(cast(Json, call), "")] if call is not None else []


def _content(value: Json, has_calls: bool) -> _Content:
    match value:
        case str():
            return _Content([value])
        case list():
            content = _Content()
            for part in value:
                _add_part(content, part)
            return content
        case None if has_calls:
            return _Content()
        case _:
            raise InvalidRequest(f"invalid message content type: {_GO_TYPES[type(value)]}")


def _add_part(content: _Content, part: Json) -> None:
    if not isinstance(part, dict):
        raise InvalidRequest(_BAD_FORMAT)
    match part:
        case {"type": "text", "text": str(part_text)} | {"type": "refusal", "refusal": str(part_text)}:
            content.texts.append(part_text)
        case {"type": "image_url", "image_url": {"url": str(url)}} | {
            "type": "image_url",
            "image_url": str(url),
        }:
            content.media.append(decoded_image(url))
        case {"type": "input_audio", "input_audio": {"data": str(data)}}:
            content.media.append(_decoded(data, "invalid audio input"))
            content.has_audio = True
        case _:
            raise InvalidRequest(_BAD_FORMAT)


def _decoded(data: str, message: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(message) from None


def _tool_calls(value: Json, path: FieldPath) -> list[ToolCall]:
    if not isinstance(value, list):
        raise path.wrong_kind(value, "[]openai.ToolCall")
    return [_tool_call(item) for item in value]


def _tool_call(value: Json) -> ToolCall:
    call = read_struct(
        value,
        "ToolCall",
        _TOOL_CALL,
        "openai.ToolCall",
    )
    return _function_of(cast(Json, call.get("function")), str(call.get("id", "")))


def _function_of(value: Json, call_id: str) -> ToolCall:
    function = read_struct(
        value,
        "ToolCall",
        {"name": text, "arguments": text},
        "struct { Name string; Arguments string }",
    )
    arguments = str(function.get("arguments", ""))
    if not arguments:
        raise InvalidRequest("invalid tool call arguments")
    return ToolCall(
        name=str(function.get("name", "")),
        arguments_json=sent_arguments(arguments),
        id=call_id,
    )


_TOOL_CALL: dict[str, Reader] = {"id": text, "index": integer, "type": text, "function": anything}
_MESSAGE: dict[str, Reader] = {
    "role": text,
    "content": anything,
    "reasoning": text,
    "reasoning_content": text,
    "tool_calls": _tool_calls,
    "function_call": anything,
    "refusal": text,
    "name": text,
    "tool_call_id": text,
}
