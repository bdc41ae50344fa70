"""Anthropic's tools, and who chooses among them."""

from __future__ import annotations

from typing import cast

from drover.errors import InvalidRequest, NotOffered
from drover.v1 import engine_pb2 as pb
from frontend.api.anthropic.loading import LoadedTools
from frontend.api.core.go_json import Json, dump_text
from frontend.api.core.request import Tool
from frontend.api.core.tool_choice import ToolChoice, read_tool_choice
from frontend.api.core.tool_parameters import read_parameters
from frontend.api.core.tool_shapes import with_schema
from frontend.api.core.typed_fields import FieldPath, Reader, boolean, read_struct, text

_MAX_TOOLS = 2_000
_MODES = {
    "auto": pb.ToolChoice.AUTO,
    "any": pb.ToolChoice.REQUIRED,
    "tool": pb.ToolChoice.NAMED,
    "none": pb.ToolChoice.NONE,
}
_OPENAI_KINDS = ("function", "required", "allowed_tools")
_SEARCH = "tool_search_tool"
_TOOL: dict[str, Reader] = {"type": text, "name": text, "description": text, "input_schema": read_parameters}
_CHOICE: dict[str, Reader] = {"type": text, "name": text, "disable_parallel_tool_use": boolean}


def read_tools(value: list[Json], ignored: list[str]) -> LoadedTools:
    """Anthropic's servers search for tools to load. This server does not: all are listed from the
    start, and the search's kind is added to `ignored`. Of tools of one name the last one counts.
    """
    if len(value) > _MAX_TOOLS:
        raise InvalidRequest(f"tools: {len(value)} are too many, at most {_MAX_TOOLS} are possible")
    tools, searches = LoadedTools(), []
    for number, item in enumerate(value):
        kind = item.get("type") if isinstance(item, dict) else None
        if isinstance(kind, str) and kind.startswith(_SEARCH):
            searches.append(f"tools.{kind}")
            continue
        tool = read_tool(f"tools.{number}", item)
        tools.known[tool.name] = tool
        if isinstance(item, dict) and item.get("defer_loading") is True:
            tools.deferred.add(tool.name)
    ignored += searches
    if searches:
        tools.deferred.clear()
    return tools


def read_tool(where: str, value: Json) -> Tool:
    """Raises NotOffered for a search that would run at ollama.com, InvalidRequest for other tools that only
    Anthropic knows the parameters of.
    """
    fields = read_struct(with_schema(value), "Tool", _TOOL, "anthropic.Tool")
    kind, name = cast(str, fields.get("type", "custom")), cast(str, fields.get("name", ""))
    schema = fields.get("input_schema")
    if kind.startswith("web_search"):
        raise NotOffered("ollama cloud is disabled: web search is unavailable")
    if kind not in ("custom", "function") and schema is None:
        raise InvalidRequest(f'{where}: a tool of type "{kind}" is not possible here')
    if not name:
        raise InvalidRequest(f"{where}: name is required")
    return Tool(
        name=name,
        description=cast(str, fields.get("description", "")),
        parameters_json="" if schema is None else dump_text(schema),
    )


def read_choice(value: Json, loaded: LoadedTools) -> tuple[pb.ToolChoice, list[Tool]]:
    """And the tools that it leaves, after all messages were read. Also in OpenAI's shapes.

    Raises InvalidRequest for a choice that the tools do not leave.
    """
    choice = pb.ToolChoice()
    if value is None:
        return choice, loaded.offered("")
    if isinstance(value, str) or (isinstance(value, dict) and value.get("type") in _OPENAI_KINDS):
        chosen = read_tool_choice(value, FieldPath("MessagesRequest", "tool_choice"))
    else:
        fields = read_struct(value, "ToolChoice", _CHOICE, "anthropic.ToolChoice")
        kind, name = cast(str, fields.get("type", "")), cast(str, fields.get("name", ""))
        if kind not in _MODES:
            raise InvalidRequest(f'tool_choice.type: "{kind}" is none of {", ".join(_MODES)}')
        chosen = ToolChoice(_MODES[kind], name if kind == "tool" else "")
        if fields.get("disable_parallel_tool_use"):
            choice.parallel = False
    tools = loaded.offered(chosen.name)
    chosen.check(tools)
    choice.mode, choice.name = chosen.mode, chosen.name
    return choice, chosen.offered(tools)
