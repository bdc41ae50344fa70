"""Anthropic's tools, and `tool_choice`.

A client may load tools in the course of a conversation (`defer_loading`). They stay out of the list at the
front of the prompt, so that the prompt's prefix stays cached; a reference in a message shows the tool's
definition there, and from then on the tool may be called.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

from drover.errors import InvalidRequest, NotOffered
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dump_text
from frontend.api.core.request import MAX_TOOLS, Tool, check_count
from frontend.api.core.tool_choice import ToolChoice, read_tool_choice
from frontend.api.core.tool_definition import definition_text
from frontend.api.core.tool_shapes import as_anthropic_tool, read_parameters
from frontend.api.core.typed_fields import FieldPath, Reader, boolean, read_struct, text

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


def read_tools(value: list[Json], ignored: list[str]) -> DeferrableTools:
    """The request's tools; of several with one name the last. Raises InvalidRequest, NotOffered.

    Anthropic's servers search for tools to load. This server does not: with a search tool all tools are
    listed from the start, and the search's type is added to `ignored`.
    """
    check_count("tools", len(value), MAX_TOOLS)
    tools, searches = DeferrableTools(), []
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
    """One tool; `where` is its place in the request.

    Raises NotOffered for a web search, which would run at ollama.com, and InvalidRequest for other tools
    whose parameters only Anthropic defines.
    """
    fields = read_struct(as_anthropic_tool(value), "Tool", _TOOL, "anthropic.Tool")
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


def read_choice(value: Json, tools: DeferrableTools) -> tuple[pb.ToolChoice, list[Tool]]:
    """The choice, also in OpenAI's shapes, and the tools to offer. Call it after all messages are read.

    Raises InvalidRequest for a choice that the offered tools do not satisfy.
    """
    choice = pb.ToolChoice()
    if value is None:
        return choice, tools.offered("")
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
    offered = tools.offered(chosen.name)
    chosen.check(offered)
    choice.mode, choice.name = chosen.mode, chosen.name
    return choice, chosen.offered(offered)


@dataclass(slots=True)
class DeferrableTools:
    """The tools of a request and which of them are loaded.

    `known`: all tools, by name. `deferred`: names of those that messages load.
    """

    known: dict[str, Tool] = field(default_factory=dict)
    deferred: set[str] = field(default_factory=set)
    _loaded: dict[str, None] = field(default_factory=dict)

    def load(self, name: str) -> str:
        """Load a tool; return the text that replaces its reference in the prompt."""
        tool = self.known.get(name)
        if tool is None:
            return f"{name}\n"
        if name in self.deferred:
            self._loaded[name] = None
        return definition_text(tool)

    def add(self, tool: Tool) -> str:
        """Add a tool that a message defines; return the text that replaces the definition."""
        if tool.name not in self.known:
            self.known[tool.name] = tool
            self.deferred.add(tool.name)
        return self.load(tool.name)

    def remove(self, name: str) -> str:
        """Unload a tool; return the text that replaces the removal."""
        self._loaded.pop(name, None)
        return f"The tool {name} cannot be called any more.\n"

    def offered(self, named: str) -> list[Tool]:
        """The tools to offer. `named`: the tool that must be called, which is always listed."""
        listed = [
            tool for tool in self.known.values() if tool.name not in self.deferred or tool.name == named
        ]
        loaded = (self.known[name] for name in self._loaded if name != named)
        return [*listed, *(replace(tool, unlisted=True) for tool in loaded)]
