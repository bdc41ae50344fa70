"""The body of /v1/responses (ollama-contract.md, "OpenAI: responses")."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core import tool_shapes
from frontend.api.core.go_json import dump_text
from frontend.api.core.ignored_fields import Fields, Refusal, refused
from frontend.api.core.request import ChatRequest, Message, keep_alive
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
from frontend.api.openai.convert import thinking_of
from frontend.api.openai.extras.fields import REFUSED, Extras, readers_of
from frontend.api.openai.extras.table import RESPONSES
from frontend.api.openai.fields import HARMLESS, INNER_OF_RESPONSES
from frontend.api.openai.responses.compaction import empty_compaction, without_trigger
from frontend.api.openai.responses.items import read_input
from frontend.api.openai.responses.tools import Tools

# Codex's; of one conversation.
SESSION_HEADER = "session-id"
_FORMATS = ("text", "json_schema", "json_object")
_TRUNCATIONS = ("auto", "disabled")
# OpenAI's default, whatever the model's own is; top_p has none (ollama-contract.md, "OpenAI: responses").
_DEFAULT_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """A request in the neutral form.

    `chat`: the neutral chat request. `tool_choice`, `tools`: what it does not have. `echo`: fields that the
    response repeats. `ignored`: names of fields without effect. `compacts`: the input ends with the trigger
    of a compaction, which is no part of `chat`. `store` is None where the client leaves it to the server.
    """

    chat: ChatRequest
    tool_choice: pb.ToolChoice
    tools: Tools
    echo: dict[str, Json]
    ignored: list[str]
    compacts: bool = False
    store: bool | None = None
    background: bool = False
    previous_response_id: str = ""
    extras: Extras = field(default_factory=Extras)
    prompt_cache_key: str = ""

    @classmethod
    def read(cls, body: Json) -> ResponsesRequest:
        """Without a model no other field is read. Raises InvalidRequest."""
        fields = _Body.read(body)
        if not fields.model:
            return cls(ChatRequest(), pb.ToolChoice(), Tools(), {}, [])
        _check_no_conversation(fields)
        tools = Tools.read(fields.tools)
        first = [Message(role="system", content=fields.instructions)] if fields.instructions else []
        sent, compacts = without_trigger(fields.input)
        input_messages, as_text = read_input(sent, tools)
        choice = tools.choose(fields.tool_choice, fields.parallel_tool_calls)
        messages = [*first, *input_messages]
        if compacts and not input_messages:
            raise empty_compaction()
        if not messages:
            raise InvalidRequest("input is required")
        chat = ChatRequest(
            model=fields.model,
            stream=fields.stream,
            format=_format(fields.format),
            options=_options(fields),
            keep_alive=fields.keep_alive,
            think=thinking_of(fields.reasoning.get("effort"), "reasoning.effort") or fields.extras.think(),
            truncate=_truncates(fields.truncation),
            messages=messages,
            tools=tools.offered,
            think_optional=True,
            skip_unseen_images=True,
        )
        echo = _echo(fields, tools)
        _check_depth(echo)
        ignored = [
            *FIELDS.without_effect(body),
            *_without_effect(fields),
            *tools.ignored,
            *tool_shapes.without_effect(body, choice.mode),
            *as_text,
        ]
        return cls(
            chat,
            choice,
            tools,
            echo,
            ignored,
            compacts,
            fields.store,
            fields.background,
            fields.previous_response_id,
            fields.extras,
            fields.prompt_cache_key or "",
        )

    @property
    def is_stored(self) -> bool:
        """True unless the client says no, where the server stores responses. A background response always is:
        its client reads it later.
        """
        return self.background or self.store is not False

    def extend(self, message: pb.GenerateRequest, caller: str, session: str) -> None:
        """Add what the neutral request does not have. `caller`: the client's name in the fair queue.
        `session`: the conversation's id where the body has none.
        """
        message.tool_choice.CopyFrom(self.tool_choice)
        self.set_extras(message, caller, session)

    def set_extras(self, message: pb.GenerateRequest, caller: str, session: str) -> None:
        """The same without the tool choice."""
        self.extras.set_in(message, caller, self.prompt_cache_key or session)


@dataclass(slots=True)
class _Body:
    """The body's fields; `options`, `num_ctx` and `keep_alive` are Ollama's extensions to OpenAI's API, and
    `extras` those of SGLang and vLLM.
    """

    model: str = ""
    input: Json = None
    instructions: str = ""
    stream: bool = False
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    reasoning: dict[str, Json] = field(default_factory=dict)
    text: dict[str, Json] = field(default_factory=dict)
    tools: list[Json] = field(default_factory=list)
    tool_choice: Json = None
    parallel_tool_calls: bool | None = None
    truncation: str = ""
    background: bool = False
    store: bool | None = None
    include: list[Json] = field(default_factory=list)
    metadata: dict[str, Json] = field(default_factory=dict)
    previous_response_id: str = ""
    conversation: Json = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    options: dict[str, Json] = field(default_factory=dict)
    num_ctx: int | None = None
    keep_alive: int | None = None
    extras: Extras = field(default_factory=Extras)

    @classmethod
    def read(cls, body: Json) -> _Body:
        make: Callable[..., _Body] = cls
        values = read_struct(body, "ResponsesRequest", _READERS, "openai.ResponsesRequest")
        extras = Extras.take(values, RESPONSES)
        return make(**values, extras=extras)

    @property
    def format(self) -> dict[str, Json]:
        wanted = self.text.get("format")
        return wanted if isinstance(wanted, dict) else {"type": "text"}


def _check_no_conversation(fields: _Body) -> None:
    """Raise InvalidRequest for OpenAI's conversations: without them the answer would be a wrong one."""
    if fields.conversation is not None:
        raise InvalidRequest(
            "conversation: conversations are not stored here, so send the conversation in `input`, or use "
            "`previous_response_id` where the server stores responses"
        )


def _without_effect(fields: _Body) -> list[str]:
    """Names of fields that are read but whose values have no effect."""
    unknown = [each for each in fields.include if each != "reasoning.encrypted_content"]
    named = {
        "include": bool(unknown),
        "text.format": fields.format.get("type") not in _FORMATS,
        "text.verbosity": bool(fields.text.get("verbosity")),
    }
    return [name for name, is_set in named.items() if is_set]


def _options(fields: _Body) -> dict[str, Json]:
    own: dict[str, Json] = {
        "temperature": fields.temperature,
        "top_p": fields.top_p,
        "num_predict": fields.max_output_tokens,
        "num_ctx": fields.num_ctx,
    }
    return {
        "temperature": _DEFAULT_TEMPERATURE,
        **fields.options,
        **fields.extras.options(fields.options),
        **{name: value for name, value in own.items() if value is not None},
    }


def _truncates(truncation: str) -> bool:
    if truncation and truncation not in _TRUNCATIONS:
        raise InvalidRequest(f'truncation: "{truncation}" is neither "auto" nor "disabled"')
    return truncation != "disabled"


def _format(wanted: dict[str, Json]) -> Json:
    match wanted.get("type"):
        case "json_schema":
            return mapping(wanted.get("schema"), FieldPath("ResponsesTextFormat", "schema"))
        case "json_object":
            return "json"
        case _:
            return None


def _echo(fields: _Body, tools: Tools) -> dict[str, Json]:
    """The fields that the response repeats.

    Without `truncation`, Ollama repeats "disabled" and truncates; this server repeats "auto".
    """
    reasoning: Json = (
        {"effort": fields.reasoning.get("effort"), "summary": fields.reasoning.get("summary")}
        if fields.reasoning
        else None
    )
    return {
        "model": fields.model,
        "previous_response_id": fields.previous_response_id or None,
        "instructions": fields.instructions or None,
        "tools": tools.echo,
        "tool_choice": "auto" if fields.tool_choice is None else fields.tool_choice,
        "truncation": fields.truncation or "auto",
        "parallel_tool_calls": fields.parallel_tool_calls is not False,
        "text": {**fields.text, "format": fields.format},
        "top_p": 1.0 if fields.top_p is None else fields.top_p,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "top_logprobs": 0,
        "temperature": _DEFAULT_TEMPERATURE if fields.temperature is None else fields.temperature,
        "reasoning": reasoning,
        "max_output_tokens": fields.max_output_tokens,
        "max_tool_calls": None,
        "store": False,
        "background": fields.background,
        "service_tier": "default",
        "metadata": fields.metadata,
        "safety_identifier": fields.safety_identifier,
        "prompt_cache_key": fields.prompt_cache_key,
    }


def _check_depth(echo: dict[str, Json]) -> None:
    """Check that the echo can be nested in a response and an event. Raises InvalidRequest."""
    dump_text({"response": {"echo": echo}})


def _list(value: Json, path: FieldPath) -> list[Json]:
    if not isinstance(value, list):
        raise path.wrong_kind(value, "[]openai.ResponsesTool")
    return value


def _list_of_anything(value: Json, path: FieldPath) -> list[Json]:
    return value if isinstance(value, list) else []


_READERS: dict[str, Reader] = {
    **readers_of(RESPONSES),
    "model": text,
    "input": anything,
    "instructions": text,
    "stream": boolean,
    "max_output_tokens": integer,
    "temperature": number,
    "top_p": number,
    "reasoning": mapping,
    "text": mapping,
    "tools": _list,
    "tool_choice": anything,
    "parallel_tool_calls": boolean,
    "truncation": text,
    "background": boolean,
    "store": boolean,
    "include": _list_of_anything,
    "metadata": mapping,
    "previous_response_id": text,
    "conversation": anything,
    "safety_identifier": text,
    "prompt_cache_key": text,
    "options": mapping,
    "num_ctx": integer,
    "keep_alive": keep_alive,
}
_REFUSED: dict[str, Refusal] = {
    "prompt": refused("prompt: no prompts are stored here, so send its text in `instructions` or `input`"),
}
FIELDS = Fields(_READERS.keys(), HARMLESS, {**REFUSED, **_REFUSED}, INNER_OF_RESPONSES)
