"""`tool_choice`: whether, and which, functions are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.dialects.ollama.decode import Place
from frontend.dialects.ollama.go_json import Json
from frontend.dialects.ollama.wire import Tool

_MODES = {"auto": pb.ToolChoice.AUTO, "none": pb.ToolChoice.NONE, "required": pb.ToolChoice.REQUIRED}
_POSSIBLE = (
    'tool_choice must be "none", "auto", "required", or {"type": "function", "function": {"name": "..."}}'
)


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`name`: the function that must be called, with NAMED."""

    mode: pb.ToolChoice.Mode.ValueType
    name: str = ""

    def check(self, tools: Sequence[Tool]) -> None:
        """Raises InvalidRequest for a call that no tool is there for."""
        if self.mode == pb.ToolChoice.REQUIRED and not tools:
            raise InvalidRequest("tool_choice asks for a tool call, but the request has no tools")
        if self.mode == pb.ToolChoice.NAMED and self.name not in {tool.name for tool in tools}:
            raise InvalidRequest(f'tool_choice names "{self.name}", which is not one of the request\'s tools')


def read_tool_choice(value: Json, place: Place) -> ToolChoice:
    if isinstance(value, str) and value in _MODES:
        return ToolChoice(_MODES[value])
    if isinstance(value, dict) and value.get("type") == "function":
        # Chat completions have the name in `function`, the Responses API has it beside the type.
        function = value.get("function")
        name = function.get("name") if isinstance(function, dict) else value.get("name")
        if isinstance(name, str) and name:
            return ToolChoice(pb.ToolChoice.NAMED, name)
    raise InvalidRequest(_POSSIBLE)
