"""`tool_choice`: whether functions are called, and which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import Json
from frontend.api.core.request import Tool
from frontend.api.core.typed_fields import FieldPath

_MODES = {
    "auto": pb.ToolChoice.AUTO,
    "none": pb.ToolChoice.NONE,
    "required": pb.ToolChoice.REQUIRED,
    # Anthropic's word.
    "any": pb.ToolChoice.REQUIRED,
}
_POSSIBLE = (
    'tool_choice must be "none", "auto", "required", {"type": "function", "function": {"name": "..."}} or '
    '{"type": "allowed_tools", "allowed_tools": {"mode": "...", "tools": [...]}}'
)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`name`: the function that must be called, with NAMED. `allowed`: those that may be; None is all."""

    mode: pb.ToolChoice.Mode.ValueType
    name: str = ""
    allowed: frozenset[str] | None = None

    def offered(self, tools: Sequence[Tool]) -> list[Tool]:
        return [tool for tool in tools if self.allowed is None or tool.name in self.allowed]

    def check(self, tools: Sequence[Tool]) -> None:
        """Raises InvalidRequest where no tool can meet the choice."""
        if self.mode == pb.ToolChoice.REQUIRED and not self.offered(tools):
            among = "" if self.allowed is None else " among those that it allows"
            raise InvalidRequest(f"tool_choice asks for a tool call, but the request has no tools{among}")
        if self.mode == pb.ToolChoice.NAMED and self.name not in {tool.name for tool in tools}:
            raise InvalidRequest(f'tool_choice names "{self.name}", which is not one of the request\'s tools')


def read_tool_choice(value: Json, path: FieldPath) -> ToolChoice:
    """Read a choice in the shape of any dialect. Raises InvalidRequest."""
    if isinstance(value, dict):
        return _of_object(value)
    if isinstance(value, str) and value in _MODES:
        return ToolChoice(_MODES[value])
    raise InvalidRequest(_POSSIBLE)


def _of_object(value: dict[str, Json]) -> ToolChoice:
    kind = value.get("type")
    if kind in ("function", "tool", "custom") and (name := _name(value)):
        return ToolChoice(pb.ToolChoice.NAMED, name)
    if kind == "allowed_tools":
        inner = value.get("allowed_tools")
        return _allowed(inner if isinstance(inner, dict) else value)
    if isinstance(kind, str) and kind in _MODES:
        return ToolChoice(_MODES[kind])
    raise InvalidRequest(_POSSIBLE)


def _allowed(value: dict[str, Json]) -> ToolChoice:
    match value:
        case {"mode": str(mode), "tools": list(tools)} if mode in _MODES:
            return ToolChoice(_MODES[mode], allowed=frozenset(_names(tools)))
        case _:
            raise InvalidRequest(_POSSIBLE)


def _names(tools: Sequence[Json]) -> Iterator[str]:
    for tool in tools:
        if isinstance(tool, dict) and (name := _name(tool)):
            yield name


def _name(value: dict[str, Json]) -> str:
    """The function's name: chat completions have it in `function`, the Responses API next to the type, with a
    namespace.
    """
    function = value.get("function")
    match function if isinstance(function, dict) else value:
        case {"name": str(name), "namespace": str(namespace)} if namespace:
            return f"{namespace}.{name}"
        case {"name": str(name)}:
            return name
        case _:
            return ""
