"""Fields of a tool that this server does not act on, in the shape of any dialect.

A function's arguments obey its schema where a grammar makes the call, so `strict` is kept where a call is
forced. Elsewhere the model is free, and `strict` is named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.dialects.fields import Fields

_WITHIN = "tools."
_FORCED = (pb.ToolChoice.REQUIRED, pb.ToolChoice.NAMED)
# How a prompt is cached, and how finely a call is streamed: here as the model writes it.
_HARMLESS = frozenset({"cache_control", "eager_input_streaming"})
_AROUND = {"type", "function"}
_FUNCTION = {"name", "description", "parameters", "input_schema", "inputschema"}
# Kinds that are functions; others are named or refused as a whole.
_KINDS = (None, "", "function", "custom")


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
