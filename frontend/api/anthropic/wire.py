"""The bodies of /v1/messages and /v1/messages/count_tokens (ollama-contract.md, "Anthropic: messages")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.anthropic import fields
from frontend.api.anthropic.content import Conversation, read_system
from frontend.api.anthropic.tools import read_choice, read_tools
from frontend.api.core import tool_shapes
from frontend.api.core.go_json import Json
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.request import ChatRequest, Message, Think, keep_alive
from frontend.api.core.typed_fields import (
    FieldPath,
    Reader,
    anything,
    boolean,
    integer,
    mapping,
    number,
    read_struct,
    text,
)

_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}


@dataclass(frozen=True, slots=True)
class MessagesRequest:
    """`chat`: what the native route would get, and what that cannot say. `ignored`: names of what has no
    effect.
    """

    chat: ChatRequest
    tool_choice: pb.ToolChoice
    stop_sequences: list[str]
    ignored: list[str]

    @classmethod
    def read(cls, body: Json) -> MessagesRequest:
        """Raises InvalidRequest, NotOffered."""
        given = _Body.read(body)
        if given.model and given.max_tokens <= 0:
            raise InvalidRequest("max_tokens is required and must be positive")
        return cls._of(given, body)

    @classmethod
    def read_to_count(cls, body: Json) -> MessagesRequest:
        """Of count_tokens, which need not say how long an answer may be."""
        return cls._of(_Body.read(body), body)

    @classmethod
    def _of(cls, given: _Body, body: Json) -> MessagesRequest:
        ignored = FIELDS.without_effect(body)
        if not given.model:
            raise InvalidRequest("model is required")
        if not given.messages:
            raise InvalidRequest("messages is required")
        system = read_system(given.system)
        conversation = Conversation(read_tools(given.tools, ignored), ignored)
        messages = conversation.read(given.messages)
        choice, tools = read_choice(given.tool_choice, conversation.tools)
        ignored += tool_shapes.without_effect(body, choice.mode, reads=("defer_loading",))
        chat = ChatRequest(
            model=given.model,
            stream=given.stream,
            format=_format(given),
            options=_options(given),
            keep_alive=given.keep_alive,
            think=_think(given),
            truncate=given.truncate,
            messages=[Message(role="system", content=system), *messages] if system else messages,
            tools=tools,
            think_optional=True,
            skip_unseen_images=True,
        )
        return cls(chat, choice, given.stop_sequences, ignored)

    def set_tool_choice(self, message: pb.GenerateRequest) -> None:
        message.tool_choice.CopyFrom(self.tool_choice)


@dataclass(slots=True)
class _Body:
    """From `options` on they are Ollama's, which Anthropic's API does not have."""

    model: str = ""
    max_tokens: int = 0
    messages: list[Json] = field(default_factory=list)
    system: Json = None
    stream: bool = False
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop_sequences: list[str] = field(default_factory=list)
    tools: list[Json] = field(default_factory=list)
    tool_choice: Json = None
    thinking: dict[str, Json] = field(default_factory=dict)
    output_config: dict[str, Json] = field(default_factory=dict)
    output_format: dict[str, Json] | None = None
    options: dict[str, Json] = field(default_factory=dict)
    num_ctx: int | None = None
    keep_alive: int | None = None
    truncate: bool = True

    @classmethod
    def read(cls, body: Json) -> _Body:
        make: Callable[..., _Body] = cls
        return make(**read_struct(body, "MessagesRequest", _READERS, "anthropic.MessagesRequest"))


def _options(given: _Body) -> dict[str, Json]:
    """Unset fields get the model's and Ollama's defaults, not OpenAI's."""
    own: Mapping[str, Json] = {
        "temperature": given.temperature,
        "top_p": given.top_p,
        "top_k": given.top_k,
        "num_predict": given.max_tokens or None,
        "num_ctx": given.num_ctx,
        "stop": [*given.stop_sequences] or None,
    }
    return {**given.options, **{name: value for name, value in own.items() if value is not None}}


def _think(given: _Body) -> Think | None:
    match given.thinking.get("type"):
        case "enabled":
            return Think(enabled=True)
        case "disabled":
            return Think(enabled=False)
    effort = given.output_config.get("effort")
    if isinstance(effort, str) and (level := _EFFORTS.get(effort.strip().lower())):
        return Think(enabled=True, level=level)
    return Think(enabled=True) if given.thinking.get("type") == "adaptive" else None


def _format(given: _Body) -> Json:
    """The schema of a structured output."""
    wanted = given.output_config.get("format") or given.output_format
    if wanted is None:
        return None
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and "schema" in wanted:
        return mapping(wanted["schema"], FieldPath("OutputFormat", "schema"))
    raise InvalidRequest('output_config.format: only {"type": "json_schema", "schema": {…}} is possible')


def _list(value: Json, place: FieldPath) -> list[Json]:
    if not isinstance(value, list):
        raise place.wrong_kind(
            value, f"[]anthropic.{'MessageParam' if place.field == 'messages' else 'Tool'}"
        )
    return value


_LISTS = {"messages": "[]anthropic.MessageParam", "tools": "[]anthropic.Tool"}


def _texts(value: Json, place: FieldPath) -> list[str]:
    if not isinstance(value, list):
        raise place.wrong_kind(value, "[]string")
    return [text(item, place) for item in value if item is not None]


_READERS: dict[str, Reader] = {
    "model": text,
    "max_tokens": integer,
    "messages": _list,
    "system": anything,
    "stream": boolean,
    "temperature": number,
    "top_p": number,
    "top_k": integer,
    "stop_sequences": _texts,
    "tools": _list,
    "tool_choice": anything,
    "thinking": mapping,
    "output_config": mapping,
    "output_format": mapping,
    "options": mapping,
    "num_ctx": integer,
    "keep_alive": keep_alive,
    "truncate": boolean,
}
FIELDS = Fields(_READERS.keys(), fields.HARMLESS, fields.REFUSED, fields.INNER)
