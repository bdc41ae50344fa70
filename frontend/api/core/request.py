"""The neutral request of all dialects, which is Ollama's, and its readers
(ollama-contract.md, "Fields of generate and chat").
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar, cast

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core import tool_shapes
from frontend.api.core.go_json import Json, dump_text
from frontend.api.core.go_values import keep_alive_ns
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.thinking import Think, read_think
from frontend.api.core.tool_shapes import as_chat_tool, missing_name, read_parameters
from frontend.api.core.typed_fields import (
    FieldPath,
    Reader,
    anything,
    boolean,
    encodable_mapping,
    images,
    integer,
    integers,
    mapping,
    read_struct,
    text,
)

Wanted = TypeVar("Wanted")

# Of one request, in every dialect: far beyond any conversation, and no prompt takes minutes to render.
MAX_MESSAGES = 20_000
MAX_TOOLS = 2_000


@dataclass(slots=True)
class ToolCall:
    name: str
    arguments_json: str
    id: str = ""


@dataclass(slots=True)
class Message:
    role: str = ""
    content: str = ""
    thinking: str = ""
    images: list[bytes] = field(default_factory=list)
    tool_calls: list[ToolCall] = field(default_factory=list)
    tool_name: str = ""
    tool_call_id: str = ""


@dataclass(slots=True)
class Tool:
    name: str
    description: str
    parameters_json: str
    # The model may call it, but it is defined in a message and not listed in the prompt.
    unlisted: bool = False
    # As in engine.proto.
    input_grammar: str = ""
    input_syntax: str = ""


@dataclass(slots=True)
class InferenceRequest:
    """The fields that generate and chat have in common."""

    model: str = ""
    stream: bool = True
    format: Json = None
    options: dict[str, Json] = field(default_factory=dict)
    keep_alive: int | None = None
    think: Think | None = None
    truncate: bool = True
    shift: bool = True
    logprobs: bool = False
    top_logprobs: int = 0
    debug_render_only: bool = False
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)


@dataclass(slots=True)
class ChatRequest(InferenceRequest):
    messages: list[Message] = field(default_factory=list)
    tools: list[Tool] = field(default_factory=list)
    # A model that cannot think answers without thinking; otherwise the request is refused.
    think_optional: bool = False
    # Images in tool results that the model cannot see are left out; otherwise the request is refused.
    skip_unseen_images: bool = False

    @classmethod
    def read(cls, body: Json) -> ChatRequest:
        request = read_body(cls, body, "ChatRequest", _CHAT, _RENAMED)
        ignored = tool_shapes.without_effect(body, pb.ToolChoice.AUTO)
        request.ignored = [*CHAT_FIELDS.without_effect(body), *ignored]
        return request


@dataclass(slots=True)
class GenerateRequest(InferenceRequest):
    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: list[int] = field(default_factory=list)
    raw: bool = False
    images: list[bytes] = field(default_factory=list)

    @classmethod
    def read(cls, body: Json) -> GenerateRequest:
        request = read_body(cls, body, "GenerateRequest", _GENERATE, _RENAMED)
        request.ignored = GENERATE_FIELDS.without_effect(body)
        return request


@dataclass(slots=True)
class NamedRequest:
    """A request that names a model. Old clients send `name`, some of them with an empty `model`."""

    model: str = ""
    name: str = ""

    @property
    def wanted(self) -> str:
        return self.model or self.name


@dataclass(slots=True)
class ShowRequest(NamedRequest):
    verbose: bool = False
    system: str = ""
    template: str = ""
    options: dict[str, Json] = field(default_factory=dict)

    @classmethod
    def read(cls, body: Json) -> ShowRequest:
        return read_body(cls, body, "ShowRequest", _SHOW)


def read_body(
    make: Callable[..., Wanted],
    body: Json,
    struct: str,
    readers: Mapping[str, Reader],
    renamed: Mapping[str, str] = MappingProxyType({}),
    package: str = "api",
) -> Wanted:
    """Read a body into the dataclass `make`, whose fields have the types that the readers return. `renamed`:
    keys that are no names in Python; `package`: Go's, which errors show.
    """
    fields = read_struct(body, struct, readers, f"{package}.{struct}")
    return make(**{renamed.get(key, key): value for key, value in fields.items()})


def check_count(field: str, count: int, max_count: int) -> None:
    if count > max_count:
        raise InvalidRequest(f"{field}: {count} are too many, at most {max_count} are possible")


def read_messages(value: Json, path: FieldPath) -> list[Message]:
    if not isinstance(value, list):
        raise path.wrong_kind(value, "[]api.Message")
    check_count(path.field, len(value), MAX_MESSAGES)
    return [_message(item, path) for item in value]


def _message(value: Json, path: FieldPath) -> Message:
    # Ollama decodes messages through a type called Alias, which its errors can show.
    message = Message(**cast(Any, read_struct(value, "Message", _MESSAGE, "api.Alias", path)))
    message.role = message.role.lower()
    return message


def _tool_calls(value: Json, path: FieldPath) -> list[ToolCall]:
    if not isinstance(value, list):
        raise path.wrong_kind(value, "[]api.ToolCall")
    return [_tool_call(item, path) for item in value]


def _tool_call(value: Json, path: FieldPath) -> ToolCall:
    outer = read_struct(value, "ToolCall", {"id": text, "function": anything}, "api.ToolCall", path)
    function = read_struct(
        cast(Json, outer.get("function")),
        "ToolCallFunction",
        {"index": integer, "name": text, "arguments": _arguments},
        "api.ToolCallFunction",
        FieldPath(path.struct, f"{path.field}.function"),
    )
    return ToolCall(
        id=cast(str, outer.get("id", "")),
        name=cast(str, function.get("name", "")),
        arguments_json=cast(str, function.get("arguments", "{}")),
    )


def _arguments(value: Json, path: FieldPath) -> str:
    if not isinstance(value, dict):
        raise InvalidRequest("Value looks like object, but can't find closing '}' symbol")
    return dump_text(value)


def read_tools(value: Json, path: FieldPath) -> list[Tool]:
    if not isinstance(value, list):
        raise path.wrong_kind(value, "api.Tools")
    check_count(path.field, len(value), MAX_TOOLS)
    tools = [_tool(as_chat_tool(item)) for item in value]
    for number, tool in enumerate(tools):
        if not tool.name:
            raise missing_name(number, value[number])
    return tools


def _tool(value: Json) -> Tool:
    outer = read_struct(value, "Tool", {"type": text, "function": anything}, "api.Tool")
    function = read_struct(
        cast(Json, outer.get("function")),
        "ToolFunction",
        {"name": text, "description": text, "parameters": read_parameters},
        "api.ToolFunction",
    )
    parameters = function.get("parameters")
    return Tool(
        name=cast(str, function.get("name", "")),
        description=cast(str, function.get("description", "")),
        parameters_json="" if parameters is None else dump_text(parameters),
    )


def keep_alive(value: Json, path: FieldPath) -> int:
    return keep_alive_ns(value)


_RENAMED = {"_debug_render_only": "debug_render_only"}
_COMMON: dict[str, Reader] = {
    "model": text,
    "stream": boolean,
    "format": anything,
    "options": mapping,
    "keep_alive": keep_alive,
    "think": read_think,
    "truncate": boolean,
    "shift": boolean,
    "logprobs": boolean,
    "top_logprobs": integer,
    "_debug_render_only": boolean,
}
_CHAT: dict[str, Reader] = {**_COMMON, "messages": read_messages, "tools": read_tools}
_GENERATE: dict[str, Reader] = {
    **_COMMON,
    "prompt": text,
    "suffix": text,
    "system": text,
    "template": text,
    "context": integers,
    "raw": boolean,
    "images": images,
}
CHAT_FIELDS = Fields(_CHAT.keys())
GENERATE_FIELDS = Fields(_GENERATE.keys())
_SHOW: dict[str, Reader] = {
    "model": text,
    "name": text,
    "verbose": boolean,
    "system": text,
    "template": text,
    "options": encodable_mapping,
}
_MESSAGE: dict[str, Reader] = {
    "role": text,
    "content": text,
    "thinking": text,
    "images": images,
    "tool_calls": _tool_calls,
    "tool_name": text,
    "tool_call_id": text,
}
