"""Tools of a request: read from the shape of any dialect, since clients that speak several mix them, and
checked where Ollama's decoder checks the types of parameters. Other keys of a schema stay unchecked.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.ignored_fields import Fields
from frontend.api.core.typed_fields import FieldPath, Reader, mapping, text

# Where each dialect, and MCP, has a function's parameters.
_PARAMETERS = ("parameters", "input_schema", "inputSchema")
_KINDS = (None, "", "function", "custom")


def as_chat_tool(value: Json) -> Json:
    """Convert a function in any shape to Ollama's and chat completions'; return other tools unchanged."""
    if not isinstance(value, dict) or isinstance(value.get("function"), dict):
        return value
    function = _function(value)
    return value if function is None else {"type": "function", "function": function}


def as_responses_tool(value: Json) -> Json:
    """Convert a function in another shape to that of the Responses API; return other tools unchanged."""
    if not isinstance(value, dict) or (value.get("type") == "function" and "name" in value):
        return value
    function = _function(value)
    return value if function is None else {"type": "function", **function}


def as_anthropic_tool(value: Json) -> Json:
    """Convert a function in another shape to Anthropic's; return other tools unchanged."""
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


def missing_name(number: int, value: Json) -> InvalidRequest:
    """The error for a tool in which no function's name was found."""
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
# Prompt caching is automatic, and calls are always streamed as the model writes them.
_HARMLESS = frozenset({"cache_control", "eager_input_streaming"})
_AROUND = {"type", "function"}
_FUNCTION = {"name", "description", "parameters", "input_schema", "inputschema"}


def without_effect(body: Json, mode: pb.ToolChoice.Mode.ValueType, reads: Collection[str] = ()) -> list[str]:
    """Names of tools' fields without effect. `reads`: fields that only this dialect reads."""
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


_STRUCT = "ToolFunctionParameters"
_ROOT = "tools.function.parameters"
_NO_MAP = "Value looks like object, but can't find closing '}' symbol"
# Deeper schemas are refused when they are encoded.
_DEEPEST = 100


def read_parameters(value: Json, path: FieldPath) -> dict[str, Json]:
    """Raises InvalidRequest."""
    parameters = mapping(value, path)
    _check(parameters, _ROOT, {"type": text, "required": _texts}, 0)
    return parameters


def _check(schema: Mapping[str, Json], path: str, readers: Mapping[str, Reader], depth: int) -> None:
    for name, read in readers.items():
        if (given := schema.get(name)) is not None:
            read(given, FieldPath(_STRUCT, f"{path}.{name}"))
    if (properties := schema.get("properties")) is not None:
        if not isinstance(properties, dict):
            raise InvalidRequest(_NO_MAP)
        for each in properties.values():
            _check_property(each, f"{path}.properties", depth + 1)


def _check_property(value: Json, path: str, depth: int) -> None:
    if value is None or depth > _DEEPEST:
        return
    if not isinstance(value, dict):
        raise FieldPath(_STRUCT, path).wrong_kind(value, "api.ToolProperty")
    _check(value, path, _OF_PROPERTY, depth)
    choices = value.get("anyOf")
    for each in choices if isinstance(choices, list) else ():
        _check_property(each, f"{path}.anyOf", depth + 1)


def _texts(value: Json, path: FieldPath) -> None:
    if not isinstance(value, list):
        raise path.wrong_kind(value, "[]string")
    for each in value:
        if each is not None:
            text(each, path)


def _type(value: Json, path: FieldPath) -> None:
    if not isinstance(value, str):
        _texts(value, path)


def _list_of(go_type: str) -> Reader:
    def read(value: Json, path: FieldPath) -> None:
        if not isinstance(value, list):
            raise path.wrong_kind(value, go_type)

    return read


_OF_PROPERTY: Mapping[str, Reader] = {
    "anyOf": _list_of("[]api.ToolProperty"),
    "type": _type,
    "description": text,
    "enum": _list_of("[]interface {}"),
    "required": _texts,
}
