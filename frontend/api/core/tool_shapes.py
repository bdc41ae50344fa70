"""Tools in the shape of another dialect, which clients that speak several send."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.ignored_fields import Fields

# Where each dialect, and MCP, has a function's parameters.
_PARAMETERS = ("parameters", "input_schema", "inputSchema")
_KINDS = (None, "", "function", "custom")


def nested(value: Json) -> Json:
    """As OpenAI's chat completions and Ollama have it, where it is a function in any shape."""
    if not isinstance(value, dict) or isinstance(value.get("function"), dict):
        return value
    function = _function(value)
    return value if function is None else {"type": "function", "function": function}


def flat(value: Json) -> Json:
    """As the Responses API has it, where it is a function in another shape."""
    if not isinstance(value, dict) or (value.get("type") == "function" and "name" in value):
        return value
    function = _function(value)
    return value if function is None else {"type": "function", **function}


def with_schema(value: Json) -> Json:
    """As Anthropic has it, where it is a function in another shape."""
    if not isinstance(value, dict) or "input_schema" in value:
        return value
    is_other = value.get("type") == "function" or any(name in value for name in _PARAMETERS)
    if not (is_other or isinstance(value.get("function"), dict)):
        return value
    function = _function(value)
    if function is None:
        return value
    parameters = function.pop("parameters", None)
    return {**function, "input_schema": {"type": "object"} if parameters is None else parameters}


def nameless(number: int, value: Json) -> InvalidRequest:
    """What is wrong with a tool that no function's name was found in."""
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind not in _KINDS[:3]:
        return InvalidRequest(
            f'tools[{number}]: a tool of type "{kind[:64]}" is not possible here, only functions are'
        )
    return InvalidRequest(f"tools[{number}]: a function needs a name")


def _function(value: dict[str, Json]) -> dict[str, Json] | None:
    inner = value.get("function")
    source = inner if isinstance(inner, dict) else value
    if source is value:
        kind = value.get("type")
        # Anthropic's own tools are "custom"; OpenAI's tools of that name take text and have no schema.
        if kind not in _KINDS or (kind == "custom" and "input_schema" not in value):
            return None
    if "name" not in source:
        return None
    found = {name: source[name] for name in ("name", "description", "strict") if source.get(name) is not None}
    parameters = next((source[name] for name in _PARAMETERS if source.get(name) is not None), None)
    if parameters is not None:
        found["parameters"] = parameters
    if "defer_loading" in value:
        found["defer_loading"] = value["defer_loading"]
    return found


_WITHIN = "tools."
_FORCED = (pb.ToolChoice.REQUIRED, pb.ToolChoice.NAMED)
# How a prompt is cached, and how finely a call is streamed: here as the model writes it.
_HARMLESS = frozenset({"cache_control", "eager_input_streaming"})
_AROUND = {"type", "function"}
_FUNCTION = {"name", "description", "parameters", "input_schema", "inputschema"}
# Kinds that are functions; others are named or refused as a whole.


def without_effect(body: Json, mode: pb.ToolChoice.Mode.ValueType, reads: Collection[str] = ()) -> list[str]:
    """The names of such fields in the tools of a request's body. `reads`: what its dialect reads besides."""
    read = {*reads, "strict"} if mode in _FORCED else {*reads}
    fields = body.items() if isinstance(body, dict) else ()
    tools = next((value for key, value in fields if key.lower() == "tools"), None)
    return list(dict.fromkeys(_of_tools(tools, read)))


def _of_tools(tools: Json, read: Collection[str]) -> Iterator[str]:
    for tool in tools if isinstance(tools, list) else ():
        if not isinstance(tool, dict):
            continue
        function, kind = tool.get("function"), tool.get("type")
        if isinstance(function, dict):
            yield from Fields({*_AROUND, *read}, _HARMLESS).without_effect(tool, _WITHIN)
            inner = Fields({*_FUNCTION, *read}, _HARMLESS)
            yield from inner.without_effect(function, f"{_WITHIN}function.")
        elif kind == "namespace":
            yield from _of_tools(tool.get("tools"), read)
        elif kind in _KINDS and "format" not in tool:
            yield from Fields({"type", *_FUNCTION, *read}, _HARMLESS).without_effect(tool, _WITHIN)
