"""Bodies of /v1/messages and /v1/messages/count_tokens (ollama-contract.md, "Anthropic: messages")."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.anthropic.content import Conversation, read_system
from frontend.api.anthropic.tools import read_choice, read_tools
from frontend.api.core import tool_shapes
from frontend.api.core.ignored_fields import Fields, Refusal, refused
from frontend.api.core.request import ChatRequest, Message, keep_alive
from frontend.api.core.thinking import Think, effort_of
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
    """A request in the neutral form.

    `chat`: the neutral chat request. `tool_choice`, `stop_sequences`: fields that it does not have.
    `ignored`: names of fields without effect.
    """

    chat: ChatRequest
    tool_choice: pb.ToolChoice
    stop_sequences: list[str]
    ignored: list[str]

    @classmethod
    def read(cls, body: Json) -> MessagesRequest:
        """Raises InvalidRequest, NotOffered."""
        fields = _Body.read(body)
        if fields.model and fields.max_tokens <= 0:
            raise InvalidRequest("max_tokens is required and must be positive")
        return cls._of(fields, body)

    @classmethod
    def read_to_count(cls, body: Json) -> MessagesRequest:
        """A body of count_tokens, where max_tokens is optional. Raises InvalidRequest, NotOffered."""
        return cls._of(_Body.read(body), body)

    @classmethod
    def _of(cls, fields: _Body, body: Json) -> MessagesRequest:
        ignored = FIELDS.without_effect(body)
        if not fields.model:
            raise InvalidRequest("model is required")
        if not fields.messages:
            raise InvalidRequest("messages is required")
        system = read_system(fields.system)
        conversation = Conversation(read_tools(fields.tools, ignored), ignored)
        messages = conversation.read(fields.messages)
        choice, tools = read_choice(fields.tool_choice, conversation.tools)
        ignored += tool_shapes.without_effect(body, choice.mode, reads=("defer_loading",))
        chat = ChatRequest(
            model=fields.model,
            stream=fields.stream,
            format=_format(fields),
            options=_options(fields),
            keep_alive=fields.keep_alive,
            think=_think(fields),
            truncate=fields.truncate,
            messages=[Message(role="system", content=system), *messages] if system else messages,
            tools=tools,
            think_optional=True,
            skip_unseen_images=True,
        )
        return cls(chat, choice, fields.stop_sequences, ignored)

    def set_tool_choice(self, message: pb.GenerateRequest) -> None:
        message.tool_choice.CopyFrom(self.tool_choice)


@dataclass(slots=True)
class _Body:
    """The body's fields; those from `options` on are Ollama's extensions to Anthropic's API."""

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


def _options(fields: _Body) -> dict[str, Json]:
    """The options that the request sets; unset ones get the model's and Ollama's defaults, not OpenAI's."""
    own: Mapping[str, Json] = {
        "temperature": fields.temperature,
        "top_p": fields.top_p,
        "top_k": fields.top_k,
        "num_predict": fields.max_tokens or None,
        "num_ctx": fields.num_ctx,
        "stop": [*fields.stop_sequences] or None,
    }
    return {**fields.options, **{name: value for name, value in own.items() if value is not None}}


def _think(fields: _Body) -> Think | None:
    match fields.thinking.get("type"):
        case "enabled":
            return Think(enabled=True)
        case "disabled":
            return Think(enabled=False)
    effort = fields.output_config.get("effort")
    if isinstance(effort, str) and effort.strip():
        return effort_of(effort.strip().lower(), _EFFORTS, "output_config.effort")
    return Think(enabled=True) if fields.thinking.get("type") == "adaptive" else None


def _format(fields: _Body) -> Json:
    """The schema of a structured output. Raises InvalidRequest for another format."""
    wanted = fields.output_config.get("format") or fields.output_format
    if wanted is None:
        return None
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and "schema" in wanted:
        return mapping(wanted["schema"], FieldPath("OutputFormat", "schema"))
    raise InvalidRequest('output_config.format: only {"type": "json_schema", "schema": {…}} is possible')


def _list(value: Json, path: FieldPath) -> list[Json]:
    if not isinstance(value, list):
        raise path.wrong_kind(value, f"[]anthropic.{'MessageParam' if path.field == 'messages' else 'Tool'}")
    return value


def _texts(value: Json, path: FieldPath) -> list[str]:
    if not isinstance(value, list):
        raise path.wrong_kind(value, "[]string")
    return [text(item, path) for item in value if item is not None]


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

# Ignored without being named in X-Drover-Not-Honoured.
HARMLESS = frozenset(
    {
        "anthropic_beta",
        "anthropic_version",
        "betas",
        "billing_policy",
        "cache_control",
        "fallback_credit_token",
        "metadata",
        "service_tier",
        "user_profile_id",
        "workspace_id",
    }
)


def _thread(value: Json) -> InvalidRequest:
    """The refusal with the details on which Anthropic's SDKs fall back to sending whole conversations."""
    if isinstance(value, dict) and value.get("type") == "continue":
        return InvalidRequest(
            f"thread: nothing is stored here, so {_quoted(value.get('previous_message_id'))} cannot be "
            "continued; send the whole conversation in messages",
            {"error_code": "thread_not_found"},
        )
    return InvalidRequest(
        "thread: nothing is stored here; send the whole conversation in messages",
        {"error_code": "thread_unsupported_request", "unsupported": ["thread"]},
    )


def _quoted(value: Json) -> str:
    return f'"{value[:64]}"' if isinstance(value, str) and value else "a message"


REFUSED: dict[str, Refusal] = {
    "thread": _thread,
    "compaction": refused(
        "compaction: this server summarises no conversation; ask the model for a summary in a message"
    ),
    "container": refused("container: nothing is run or stored here, so there are no containers"),
    "mcp_servers": refused(
        "mcp_servers: this server connects to none; connect in the client and send their tools in tools"
    ),
}
_FORMAT = Fields({"type", "schema"}, {"name"})
_INNER = {
    "thinking": Fields({"type"}),
    "output_config": Fields({"effort", "format"}, inner={"format": _FORMAT}),
    "output_format": _FORMAT,
}
FIELDS = Fields(_READERS.keys(), HARMLESS, REFUSED, _INNER)
