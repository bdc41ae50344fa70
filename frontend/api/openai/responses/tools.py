"""The tools of a Responses request, and `tool_choice`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dump_text
from frontend.api.core.request import MAX_TOOLS, Tool
from frontend.api.core.tool_choice import read_tool_choice
from frontend.api.core.tool_shapes import as_responses_tool, read_parameters
from frontend.api.core.typed_fields import FieldPath, Reader, anything, read_struct, text

_TOOL: dict[str, Reader] = {
    "type": text,
    "name": text,
    "description": text,
    "parameters": read_parameters,
    "strict": anything,
    "tools": anything,
}


@dataclass(slots=True)
class Tools:
    """The tools of a request.

    `offered`: tools for the model. `echo`: the tools as the response repeats them. `ignored`: types of tools
    that only OpenAI's servers run. `namespaces`: namespace and name of functions in a namespace, by the name
    that the model uses.
    """

    offered: list[Tool] = field(default_factory=list)
    echo: list[Json] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    namespaces: dict[str, tuple[str, str]] = field(default_factory=dict)
    _count: int = 0

    @classmethod
    def read(cls, value: list[Json]) -> Tools:
        """The tools, including those in namespaces. Raises InvalidRequest, also for too many."""
        tools = cls()
        for item in value:
            tools.echo.append(tools._add(item, ""))
        return tools

    def _add(self, value: Json, namespace: str) -> Json:
        self._count += 1
        if self._count > MAX_TOOLS:
            raise InvalidRequest(f"tools: at most {MAX_TOOLS} are possible")
        value = as_responses_tool(value)
        fields = read_struct(value, "ResponsesTool", _TOOL, "openai.ResponsesTool")
        kind, name = cast(str, fields.get("type", "")), cast(str, fields.get("name", ""))
        match kind:
            case "function":
                return self._add_function(fields, name, namespace)
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

    def _add_function(self, fields: dict[str, object], name: str, namespace: str) -> Json:
        if not name:
            raise InvalidRequest("tools: a function needs a name")
        parameters = cast("dict[str, Json] | None", fields.get("parameters"))
        full_name = f"{namespace}.{name}" if namespace else name
        if namespace:
            self.namespaces[full_name] = (namespace, name)
        description = cast("str | None", fields.get("description"))
        self.offered.append(
            Tool(full_name, description or "", "" if parameters is None else dump_text(parameters))
        )
        return {
            "type": "function",
            "name": name,
            "description": description,
            "strict": cast(Json, fields.get("strict")),
            "parameters": parameters,
        }

    def choose(self, value: Json, parallel: bool | None) -> pb.ToolChoice:
        """The tool choice; also removes offered tools that `value` does not allow.

        Raises InvalidRequest for a choice that the offered tools do not satisfy.
        """
        choice = pb.ToolChoice()
        if parallel is not None:
            choice.parallel = parallel
        if value is not None:
            chosen = read_tool_choice(value, FieldPath("ResponsesRequest", "tool_choice"))
            chosen.check(self.offered)
            self.offered = chosen.offered(self.offered)
            choice.mode, choice.name = chosen.mode, chosen.name
        return choice
