"""Anthropic's tools, and who chooses among them."""

from __future__ import annotations

from typing import cast

from drover.errors import InvalidRequest, NotOffered
from drover.v1 import engine_pb2 as pb
from frontend.dialects.ollama.decode import Place, Reader, boolean, mapping, read_struct, text
from frontend.dialects.ollama.go_json import Json, dump_text
from frontend.dialects.ollama.wire import Tool
from frontend.dialects.openai.tool_choice import ToolChoice, read_tool_choice
from frontend.dialects.tool_shapes import with_schema

_MAX_TOOLS = 2_000
_MODES = {
    "auto": pb.ToolChoice.AUTO,
    "any": pb.ToolChoice.REQUIRED,
    "tool": pb.ToolChoice.NAMED,
    "none": pb.ToolChoice.NONE,
}
_OPENAI_KINDS = ("function", "required", "allowed_tools")
_TOOL: dict[str, Reader] = {"type": text, "name": text, "description": text, "input_schema": mapping}
_CHOICE: dict[str, Reader] = {"type": text, "name": text, "disable_parallel_tool_use": boolean}


def read_tools(value: list[Json]) -> list[Tool]:
    if len(value) > _MAX_TOOLS:
        raise InvalidRequest(f"tools: {len(value)} are too many, at most {_MAX_TOOLS} are possible")
    return [_tool(number, with_schema(item)) for number, item in enumerate(value)]


def _tool(number: int, value: Json) -> Tool:
    """Raises NotOffered for a search that would run at ollama.com, InvalidRequest for other tools that only
    Anthropic knows the parameters of.
    """
    fields = read_struct(value, "Tool", _TOOL, "anthropic.Tool")
    kind, name = cast(str, fields.get("type", "custom")), cast(str, fields.get("name", ""))
    schema = fields.get("input_schema")
    if kind.startswith("web_search"):
        raise NotOffered("ollama cloud is disabled: web search is unavailable")
    if kind not in ("custom", "function") and schema is None:
        raise InvalidRequest(f'tools.{number}: a tool of type "{kind}" is not possible here')
    if not name:
        raise InvalidRequest(f"tools.{number}: name is required")
    return Tool(
        name=name,
        description=cast(str, fields.get("description", "")),
        parameters_json="" if schema is None else dump_text(schema),
    )


def read_choice(value: Json, tools: list[Tool]) -> tuple[pb.ToolChoice, list[Tool]]:
    """And the tools that it leaves. Also in OpenAI's shapes. Raises InvalidRequest for a choice that the
    tools do not leave.
    """
    choice = pb.ToolChoice()
    if value is None:
        return choice, tools
    if isinstance(value, str) or (isinstance(value, dict) and value.get("type") in _OPENAI_KINDS):
        chosen = read_tool_choice(value, Place("MessagesRequest", "tool_choice"))
        chosen.check(tools)
        choice.mode, choice.name = chosen.mode, chosen.name
        return choice, chosen.offered(tools)
    fields = read_struct(value, "ToolChoice", _CHOICE, "anthropic.ToolChoice")
    kind, name = cast(str, fields.get("type", "")), cast(str, fields.get("name", ""))
    if kind not in _MODES:
        raise InvalidRequest(f'tool_choice.type: "{kind}" is none of {", ".join(_MODES)}')
    chosen = ToolChoice(_MODES[kind], name if kind == "tool" else "")
    chosen.check(tools)
    choice.mode, choice.name = chosen.mode, chosen.name
    if fields.get("disable_parallel_tool_use"):
        choice.parallel = False
    return choice, tools
