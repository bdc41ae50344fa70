"""The tools of a Responses request, wherever in it they are, and `tool_choice`.

Models know functions only. Custom tools, the client's tool search and the members of namespaces are offered
as functions, and calls of them are turned back to what they are calls of.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import cast

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dump_text
from frontend.api.core.request import MAX_TOOLS, Tool
from frontend.api.core.tool_choice import ToolChoice, read_tool_choice
from frontend.api.core.tool_definition import definition_text
from frontend.api.core.tool_shapes import as_responses_tool, read_parameters
from frontend.api.core.typed_fields import FieldPath, Reader, anything, read_struct, text
from frontend.api.openai.responses.calls import DEFAULT_NAMESPACE, Origin, ToolKind
from frontend.api.openai.responses.custom_tools import function_of, grammar_of

SEARCH = "tool_search"
_TOOL: dict[str, Reader] = {
    "type": text,
    "name": text,
    "description": text,
    "parameters": read_parameters,
    "strict": anything,
    "tools": anything,
    "format": anything,
    "execution": anything,
}


@dataclass(slots=True)
class Tools:
    """The tools of a request.

    `echo`: the tools as the response repeats them. `ignored`: types of tools that only OpenAI's servers run,
    and fields of tools without effect. `origins`: the client's tools by the names that the model uses.
    """

    echo: list[Json] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    origins: dict[str, Origin] = field(default_factory=dict)
    _known: dict[str, Tool] = field(default_factory=dict)
    # Those that `tool_choice` allows.
    _allowed: list[Tool] | None = None
    _count: int = 0

    @classmethod
    def read(cls, value: list[Json]) -> Tools:
        """The tools, including those in namespaces. Raises InvalidRequest, also for too many."""
        tools = cls()
        for item in value:
            tools.echo.append(tools._add(item, ""))
        return tools

    @property
    def offered(self) -> list[Tool]:
        """The tools for the model."""
        return [*self._known.values()] if self._allowed is None else self._allowed

    def add(self, value: Json) -> None:
        """Add the tools of an `additional_tools` item. Raises InvalidRequest."""
        found = self._read_more(value)
        for name, tool in found._known.items():
            self._offer(found.origins[name], tool)

    def load(self, value: Json) -> str:
        """Add the tools that a tool search found; return their definitions for the model.

        They stay out of the list at the front of the prompt, so that its prefix stays cached. Raises
        InvalidRequest.
        """
        found = self._read_more(value)
        for name, tool in found._known.items():
            if name not in self._known:
                self._offer(found.origins[name], replace(tool, unlisted=True))
        return "".join(map(definition_text, found.offered)) or "No tools were found."

    def _read_more(self, value: Json) -> Tools:
        """The tools of an item. Items may repeat them, so only new names count towards the limit."""
        found = Tools.read(value if isinstance(value, list) else [])
        self.ignored += found.ignored
        self._count_more(len(found._known.keys() - self._known.keys()))
        return found

    def _add(self, value: Json, namespace: str) -> Json:
        self._count_more(1)
        value = as_responses_tool(value)
        fields = read_struct(value, "ResponsesTool", _TOOL, "openai.ResponsesTool")
        kind, name = cast(str, fields.get("type", "")), cast(str, fields.get("name", ""))
        match kind:
            case "function":
                return self._add_function(fields, name, namespace)
            case "custom":
                self._add_custom(fields, name, namespace)
                return value
            case "tool_search" if not namespace and fields.get("execution") == "client":
                self._offer(Origin(SEARCH, kind=ToolKind.SEARCH), _function(SEARCH, fields))
                return value
            case "namespace" if not namespace:
                inner = fields.get("tools")
                members = [self._add(each, name) for each in (inner if isinstance(inner, list) else ())]
                return {
                    "type": "namespace",
                    "name": name,
                    "description": cast(Json, fields.get("description")),
                    "tools": members,
                }
            case _:
                self.ignored.append(f"tools.{kind}" if kind else "tools")
                return value

    def _count_more(self, count: int) -> None:
        self._count += count
        if self._count > MAX_TOOLS:
            raise InvalidRequest(f"tools: at most {MAX_TOOLS} are possible")

    def _add_function(self, fields: dict[str, object], name: str, namespace: str) -> Json:
        if not name:
            raise InvalidRequest("tools: a function needs a name")
        self._offer(Origin(name, namespace), _function(name_for_model(namespace, name), fields))
        return {
            "type": "function",
            "name": name,
            "description": cast(Json, fields.get("description")),
            "strict": cast(Json, fields.get("strict")),
            "parameters": cast(Json, fields.get("parameters")),
        }

    def _add_custom(self, fields: dict[str, object], name: str, namespace: str) -> None:
        if not name:
            raise InvalidRequest("tools: a custom tool needs a name")
        wanted = cast(Json, fields.get("format"))
        grammar = grammar_of(wanted)
        if grammar is None and wanted not in (None, {"type": "text"}):
            self.ignored.append("tools.format")
        description = cast(str, fields.get("description", ""))
        function = function_of(name_for_model(namespace, name), description, grammar)
        self._offer(Origin(name, namespace, ToolKind.CUSTOM), function)

    def _offer(self, origin: Origin, tool: Tool) -> None:
        """Offer a tool to the model; the last definition of a name counts, in the place of the first."""
        self._known[tool.name] = tool
        self.origins[tool.name] = origin

    def choose(self, value: Json, parallel: bool | None) -> pb.ToolChoice:
        """The tool choice; tools that `value` does not allow are no longer offered. Call it after all tools
        are read.

        Raises InvalidRequest for a choice that the offered tools do not satisfy.
        """
        choice = pb.ToolChoice()
        if parallel is not None:
            choice.parallel = parallel
        if value is not None:
            chosen = _with_names_for_model(
                read_tool_choice(value, FieldPath("ResponsesRequest", "tool_choice"))
            )
            chosen.check(self.offered)
            self._allowed = [
                # A tool that must be called is listed, wherever its definition is.
                replace(tool, unlisted=tool.unlisted and tool.name != chosen.name)
                for tool in chosen.offered(self.offered)
            ]
            choice.mode, choice.name = chosen.mode, chosen.name
        return choice


def name_for_model(namespace: str, name: str) -> str:
    """The name that the model uses; members of the default namespace are called by their bare names."""
    return f"{namespace}.{name}" if namespace not in ("", DEFAULT_NAMESPACE) else name


def _function(name: str, fields: dict[str, object]) -> Tool:
    parameters = cast("dict[str, Json] | None", fields.get("parameters"))
    description = cast(str, fields.get("description", ""))
    return Tool(name, description, "" if parameters is None else dump_text(parameters))


def _with_names_for_model(choice: ToolChoice) -> ToolChoice:
    prefix = f"{DEFAULT_NAMESPACE}."
    allowed = choice.allowed
    return replace(
        choice,
        name=choice.name.removeprefix(prefix),
        allowed=None if allowed is None else frozenset(each.removeprefix(prefix) for each in allowed),
    )
