"""Bodies of chat completions and completions, with Ollama's extensions.

Contract: ollama-contract.md, "OpenAI: chat completions" and "OpenAI: completions".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core import tool_shapes
from frontend.api.core.go_json import Json
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.request import Message, Tool, check_count, keep_alive, read_tools
from frontend.api.core.tool_choice import ToolChoice, read_tool_choice
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
from frontend.api.openai import fields
from frontend.api.openai.extras.constraints import check_forced_call
from frontend.api.openai.extras.fields import INNER, REFUSED, Extras, readers_of
from frontend.api.openai.extras.table import CHAT, COMPLETIONS
from frontend.api.openai.messages import read_messages

Body = TypeVar("Body")
_MAX_TOKEN_ID = 2**32 - 1
_TOKEN_ID_DIGITS = re.compile("[0-9]{1,10}")
# OpenAI's limits.
_MAX_BIAS = 100
MAX_BIASES = 1024
_SHOWN_CHARACTERS = 40
_MAX_KEY_CHARACTERS = 1024
MAX_CHOICES = 128
MAX_CHOICES_BYTES = 128 * 1024 * 1024


@dataclass(slots=True)
class SharedFields:
    """The fields that both routes share. None: the field is not set."""

    model: str = ""
    debug_render_only: bool = False
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    stop: Json = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    logit_bias: dict[int, float] = field(default_factory=dict)
    options: dict[str, Json] = field(default_factory=dict)
    num_ctx: int | None = None
    keep_alive: int | None = None
    prompt_cache_key: str = ""
    extras: Extras = field(default_factory=Extras)
    # Names of fields that have no effect.
    ignored: list[str] = field(default_factory=list)

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def not_honoured(self, capabilities: pb.Capabilities) -> list[str]:
        """Names of set fields without effect on a model with these capabilities."""
        bias = ["logit_bias"] if self.logit_bias and not capabilities.logit_bias else []
        return [*bias, *self.extras.not_honoured, *self.ignored]


@dataclass(slots=True)
class StreamOptions:
    """`include_usage`: a further event at the stream's end has the usage."""

    include_usage: bool = False


@dataclass(slots=True)
class ChatCompletionRequest(SharedFields):
    """A chat completion's body; `messages` and `tools` are neutral ones."""

    messages: list[Message] = field(default_factory=list)
    has_audio: bool = False
    tools: list[Tool] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_completion_tokens: int | None = None
    response_format: dict[str, Json] | None = None
    reasoning: dict[str, Json] | None = None
    reasoning_effort: str | None = None
    logprobs: bool = False
    top_logprobs: int = 0

    @classmethod
    def read(cls, body: Json) -> ChatCompletionRequest:
        values = read_struct(body, "ChatCompletionRequest", _CHAT, "openai.ChatCompletionRequest")
        messages = values.pop("messages", [])
        response_format = values.get("response_format")
        format_ = response_format if isinstance(response_format, dict) else None
        extras = Extras.take(values, CHAT, format_)
        request = _made(cls, values)
        request.extras = extras
        if not isinstance(messages, list) or not messages:
            raise InvalidRequest("[] is too short - 'messages'")
        mode = pb.ToolChoice.AUTO if request.tool_choice is None else request.tool_choice.mode
        unknown_format = _unknown_format(request.response_format)
        names = CHAT_FIELDS.without_effect(body)
        request.ignored = [
            *(name for name in names if not (unknown_format and name.startswith("response_format."))),
            *unknown_format,
            *tool_shapes.without_effect(body, mode),
        ]
        request.messages, request.has_audio = read_messages(messages)
        extras.check_max_tokens(request.max_completion_tokens or request.max_tokens)
        if extras.constraint is not None and not extras.constraint.is_json:
            check_forced_call(extras.constraint, request.tool_choice)
        return request


@dataclass(slots=True)
class CompletionRequest(SharedFields):
    """A completion's body. `prompts`: one or several, each a text or token ids."""

    prompts: list[str | list[int]] = field(default_factory=lambda: [""])
    suffix: str = ""
    logprobs: int | None = None
    echo: bool = False
    best_of: int | None = None

    def not_honoured(self, capabilities: pb.Capabilities) -> list[str]:
        best_of = self.best_of is not None and self.best_of > (self.n or 1)
        own = [name for name, is_set in (("echo", self.echo), ("best_of", best_of)) if is_set]
        return [*super(CompletionRequest, self).not_honoured(capabilities), *own]

    @classmethod
    def read(cls, body: Json) -> CompletionRequest:
        values = read_struct(body, "CompletionRequest", _COMPLETION, "openai.CompletionRequest")
        response_format = values.pop("response_format", None)
        format_ = response_format if isinstance(response_format, dict) else None
        extras = Extras.take(values, COMPLETIONS, format_)
        request = _made(cls, values)
        request.extras = extras
        extras.check_max_tokens(request.max_tokens)
        unknown_format = _unknown_format(format_)
        names = COMPLETION_FIELDS.without_effect(body)
        request.ignored = [
            *(name for name in names if not (unknown_format and name.startswith("response_format."))),
            *unknown_format,
        ]
        return request


def _made(make: Callable[..., Body], values: Mapping[str, object]) -> Body:
    return make(**{_RENAMED.get(name, name): value for name, value in values.items()})


def _unknown_format(response_format: dict[str, Json] | None) -> list[str]:
    """Name of the field if its type is unknown, which yields free text as in Ollama.

    Raises InvalidRequest for a json_schema without a schema.
    """
    match response_format:
        case None | {"type": "text" | "json_object" | "structural_tag"}:
            return []
        case {"type": "json_schema", "json_schema": {"schema": schema}} if schema is not None:
            return []
        case {"type": "json_schema"}:
            raise InvalidRequest("response_format: json_schema needs a schema in json_schema.schema")
        case _:
            return ["response_format"]


def _choices(value: Json, path: FieldPath) -> int:
    count = integer(value, path)
    if not 1 <= count <= MAX_CHOICES:
        raise InvalidRequest(f"n must be between 1 and {MAX_CHOICES}")
    return count


def _key(value: Json, path: FieldPath) -> str:
    """A key that only helps; one that cannot be used counts as none."""
    return value if isinstance(value, str) and len(value) <= _MAX_KEY_CHARACTERS else ""


def _list(value: Json, path: FieldPath) -> list[Json]:
    if not isinstance(value, list):
        raise path.wrong_kind(value, "[]openai.Message")
    return value


def _stream_options(value: Json, path: FieldPath) -> StreamOptions:
    values = read_struct(value, "StreamOptions", {"include_usage": boolean}, "openai.StreamOptions")
    return _made(StreamOptions, values)


def _logit_bias(value: Json, path: FieldPath) -> dict[int, float]:
    """Biases by token id, which a JSON key holds as digits. Raises InvalidRequest."""
    entries = mapping(value, path)
    check_count("logit_bias", len(entries), MAX_BIASES)
    biases = {}
    for key, item in entries.items():
        if not _TOKEN_ID_DIGITS.fullmatch(key) or int(key) > _MAX_TOKEN_ID:
            raise InvalidRequest(f'logit_bias: "{key[:_SHOWN_CHARACTERS]}" is not a token id')
        bias = number(item, path)
        if abs(bias) > _MAX_BIAS:
            raise InvalidRequest(f"logit_bias must be between -{_MAX_BIAS} and {_MAX_BIAS}")
        biases[int(key)] = bias
    return biases


def _prompts(value: Json, path: FieldPath) -> list[str | list[int]]:
    """The prompts. Ollama accepts one text only; OpenAI also several, and token ids."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise path.wrong_kind(value, "string")
    if value and not any(isinstance(item, str | list) for item in value):
        return [_token_ids(value)]
    if not value or len(value) > MAX_CHOICES:
        raise InvalidRequest(f"prompt: between 1 and {MAX_CHOICES} prompts are possible")
    return [item if isinstance(item, str) else _token_ids(item) for item in value]


def _token_ids(row: Json) -> list[int]:
    items = row if isinstance(row, list) else []
    ids = [item for item in items if type(item) is int and 0 <= item <= _MAX_TOKEN_ID]
    if not ids or len(ids) != len(items):
        raise InvalidRequest("prompt: it must be a text, token ids, or a list of texts or lists of token ids")
    return ids


_RENAMED = {"_debug_render_only": "debug_render_only", "prompt": "prompts"}
_COMMON: dict[str, Reader] = {
    "model": text,
    "stream": boolean,
    "stream_options": _stream_options,
    "n": _choices,
    "max_tokens": integer,
    "temperature": number,
    "top_p": number,
    "seed": integer,
    "stop": anything,
    "frequency_penalty": number,
    "presence_penalty": number,
    "logit_bias": _logit_bias,
    "options": mapping,
    "num_ctx": integer,
    "keep_alive": keep_alive,
    "prompt_cache_key": _key,
}
_CHAT: dict[str, Reader] = {
    **_COMMON,
    **readers_of(CHAT),
    "messages": _list,
    "tools": read_tools,
    "tool_choice": read_tool_choice,
    "parallel_tool_calls": boolean,
    "max_completion_tokens": integer,
    "response_format": mapping,
    "reasoning": mapping,
    "reasoning_effort": text,
    "logprobs": boolean,
    "top_logprobs": integer,
    "_debug_render_only": boolean,
}
_COMPLETION: dict[str, Reader] = {
    **_COMMON,
    **readers_of(COMPLETIONS),
    "prompt": _prompts,
    "suffix": text,
    "logprobs": integer,
    "echo": boolean,
    "best_of": integer,
    "_debug_render_only": boolean,
}
CHAT_FIELDS = Fields(
    _CHAT.keys(), fields.HARMLESS, {**REFUSED, **fields.REFUSED_IN_CHAT}, {**INNER, **fields.INNER_OF_CHAT}
)
COMPLETION_FIELDS = Fields(
    _COMPLETION.keys(), fields.HARMLESS, REFUSED, {**INNER, **fields.INNER_OF_COMPLETION}
)
