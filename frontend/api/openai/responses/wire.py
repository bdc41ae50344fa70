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
from frontend.api.openai.fields import HARMLESS, INNER_OF_RESPONSES
from frontend.api.openai.responses.items import read_input
from frontend.api.openai.responses.tools import Tools

_LEVELS = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "ultra": "max",
    "max": "max",
}
_EFFORTS = '"none", "minimal", "low", "medium", "high", "xhigh", "ultra" or "max"'
_FORMATS = ("text", "json_schema", "json_object")
_TRUNCATIONS = ("auto", "disabled")
# OpenAI's, whatever the model's own is; top_p has none (ollama-contract.md, "OpenAI: responses").
_DEFAULT_TEMPERATURE = 1.0


@dataclass(frozen=True, slots=True)
class ResponsesRequest:
    """`chat`: what the native route would get, and what that cannot say. `echo`: what the answer repeats of
    the request. `ignored`: names of what has no effect.
    """

    chat: ChatRequest
    tool_choice: pb.ToolChoice
    tools: Tools
    echo: dict[str, Json]
    ignored: list[str]

    @classmethod
    def read(cls, body: Json) -> ResponsesRequest:
        """Without a model nothing else is looked at. Raises InvalidRequest."""
        given = _Body.read(body)
        if not given.model:
            return cls(ChatRequest(), pb.ToolChoice(), Tools(), {}, [])
        _check_nothing_is_stored(given)
        tools = Tools.read(given.tools)
        choice = tools.choose(given.tool_choice, given.parallel_tool_calls)
        first = [Message(role="system", content=given.instructions)] if given.instructions else []
        said, as_text = read_input(given.input)
        messages = [*first, *said]
        if not messages:
            raise InvalidRequest("input is required")
        chat = ChatRequest(
            model=given.model,
            stream=given.stream,
            format=_format(given.format),
            options=_options(given),
            keep_alive=given.keep_alive,
            think=_think(given.reasoning.get("effort")),
            truncate=_truncates(given.truncation),
            messages=messages,
            tools=tools.offered,
            skip_unseen_images=True,
        )
        echo = _echo(given, tools)
        _check_depth(echo)
        ignored = [
            *FIELDS.without_effect(body),
            *_without_effect(given),
            *tools.ignored,
            *tool_shapes.without_effect(body, choice.mode),
            *as_text,
        ]
        return cls(chat, choice, tools, echo, ignored)

    def set_tool_choice(self, message: pb.GenerateRequest) -> None:
        message.tool_choice.CopyFrom(self.tool_choice)


@dataclass(slots=True)
class _Body:
    """From `options` on they are Ollama's, which OpenAI's API does not have."""

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
    store: bool = False
    include: list[Json] = field(default_factory=list)
    metadata: dict[str, Json] = field(default_factory=dict)
    previous_response_id: str = ""
    conversation: Json = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    options: dict[str, Json] = field(default_factory=dict)
    num_ctx: int | None = None
    keep_alive: int | None = None

    @classmethod
    def read(cls, body: Json) -> _Body:
        make: Callable[..., _Body] = cls
        return make(**read_struct(body, "ResponsesRequest", _READERS, "openai.ResponsesRequest"))

    @property
    def format(self) -> dict[str, Json]:
        wanted = self.text.get("format")
        return wanted if isinstance(wanted, dict) else {"type": "text"}


def _check_nothing_is_stored(given: _Body) -> None:
    """To go on without what was said before would be to answer another question."""
    if given.previous_response_id:
        raise InvalidRequest(
            f"Previous response with id '{given.previous_response_id}' not found: nothing is stored here, so "
            "send the conversation in `input`"
        )
    if given.conversation is not None:
        raise InvalidRequest("conversation: nothing is stored here, so send the conversation in `input`")


def _without_effect(given: _Body) -> list[str]:
    """Of fields that are read: the values that nothing comes of."""
    unknown = [each for each in given.include if each != "reasoning.encrypted_content"]
    named = {
        "background": given.background,
        "store": given.store,
        "include": bool(unknown),
        "text.format": given.format.get("type") not in _FORMATS,
        "text.verbosity": bool(given.text.get("verbosity")),
    }
    return [name for name, is_set in named.items() if is_set]


def _options(given: _Body) -> dict[str, Json]:
    own: dict[str, Json] = {
        "temperature": given.temperature,
        "top_p": given.top_p,
        "num_predict": given.max_output_tokens,
        "num_ctx": given.num_ctx,
    }
    return {
        "temperature": _DEFAULT_TEMPERATURE,
        **given.options,
        **{name: value for name, value in own.items() if value is not None},
    }


def _think(effort: Json) -> Think | None:
    if effort is None or effort == "":
        return None
    if effort == "none":
        return Think(enabled=False)
    if not isinstance(effort, str) or effort not in _LEVELS:
        raise InvalidRequest(f'invalid reasoning value: "{effort}" (must be {_EFFORTS})')
    return Think(enabled=True, level=_LEVELS[effort])


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


def _echo(given: _Body, tools: Tools) -> dict[str, Json]:
    """`truncation` says what is done: upstream says "disabled" where nothing was asked for, and truncates."""
    reasoning: Json = (
        {"effort": given.reasoning.get("effort"), "summary": given.reasoning.get("summary")}
        if given.reasoning
        else None
    )
    return {
        "model": given.model,
        "previous_response_id": None,
        "instructions": given.instructions or None,
        "tools": tools.echo,
        "tool_choice": "auto" if given.tool_choice is None else given.tool_choice,
        "truncation": given.truncation or "auto",
        "parallel_tool_calls": given.parallel_tool_calls is not False,
        "text": {**given.text, "format": given.format},
        "top_p": 1.0 if given.top_p is None else given.top_p,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "top_logprobs": 0,
        "temperature": _DEFAULT_TEMPERATURE if given.temperature is None else given.temperature,
        "reasoning": reasoning,
        "max_output_tokens": given.max_output_tokens,
        "max_tool_calls": None,
        "store": False,
        "background": given.background,
        "service_tier": "default",
        "metadata": given.metadata,
        "safety_identifier": given.safety_identifier,
        "prompt_cache_key": given.prompt_cache_key,
    }


def _check_depth(echo: dict[str, Json]) -> None:
    """It is written within a response, and that within an event."""
    dump_text({"response": {"echo": echo}})


def _list(value: Json, place: FieldPath) -> list[Json]:
    if not isinstance(value, list):
        raise place.wrong_kind(value, "[]openai.ResponsesTool")
    return value


def _list_of_anything(value: Json, place: FieldPath) -> list[Json]:
    return value if isinstance(value, list) else []


_READERS: dict[str, Reader] = {
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
FIELDS = Fields(_READERS.keys(), HARMLESS, _REFUSED, INNER_OF_RESPONSES)
