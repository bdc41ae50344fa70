"""The tools of a Responses request, and who chooses among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from drover.errors import InvalidRequest
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from frontend.dialects.ollama.decode import Reader, anything, mapping, read_struct, text
from frontend.dialects.ollama.go_json import dump_text
from frontend.dialects.ollama.wire import Tool
from frontend.dialects.openai.tool_choice import ToolChoice

_MAX_TOOLS = 2_000
_MODES = {"auto": pb.ToolChoice.AUTO, "none": pb.ToolChoice.NONE, "required": pb.ToolChoice.REQUIRED}
_TOOL: dict[str, Reader] = {
    "type": text,
    "name": text,
    "description": text,
    "parameters": mapping,
    "strict": anything,
    "tools": anything,
}
_POSSIBLE = (
    'tool_choice must be "none", "auto", "required", {"type": "function", "name": "…"} or '
    '{"type": "allowed_tools", "mode": "…", "tools": […]}'
)


@dataclass(slots=True)
class Tools:
    """`echo`: as answers repeat them. `ignored`: kinds that OpenAI's servers would run, and nobody here.
    `namespaces`: of functions that are in one, by the name under which the model knows them.
    """

    offered: list[Tool] = field(default_factory=list)
    echo: list[Json] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    namespaces: dict[str, tuple[str, str]] = field(default_factory=dict)
    _count: int = 0

    @classmethod
    def read(cls, value: list[Json]) -> Tools:
        """Raises InvalidRequest, also for too many: those in namespaces count."""
        tools = cls()
        for item in value:
            tools.echo.append(tools._add(item, ""))
        return tools

    def _add(self, value: Json, namespace: str) -> Json:
        self._count += 1
        if self._count > _MAX_TOOLS:
            raise InvalidRequest(f"tools: at most {_MAX_TOOLS} are possible")
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
                self.ignored.append(f"tools.{kind}")
                return value

    def _add_function(self, fields: dict[str, object], name: str, namespace: str) -> Json:
        if not name:
            raise InvalidRequest("tools: a function needs a name")
        parameters = cast("dict[str, Json] | None", fields.get("parameters"))
        shown = f"{namespace}.{name}" if namespace else name
        if namespace:
            self.namespaces[shown] = (namespace, name)
        description = cast("str | None", fields.get("description"))
        self.offered.append(
            Tool(shown, description or "", "" if parameters is None else dump_text(parameters))
        )
        return {
            "type": "function",
            "name": name,
            "description": description,
            "strict": cast(Json, fields.get("strict")),
            "parameters": parameters,
        }

    def choose(self, value: Json, parallel: bool | None) -> pb.ToolChoice:
        """Also leaves only those offered that `value` allows. Raises InvalidRequest for a choice that the
        tools do not leave.
        """
        choice = pb.ToolChoice()
        if parallel is not None:
            choice.parallel = parallel
        match value:
            case None:
                pass
            case str() if value in _MODES:
                choice.mode = _MODES[value]
            case {"type": "function", "name": str(name), "namespace": str(namespace)}:
                choice.mode, choice.name = pb.ToolChoice.NAMED, f"{namespace}.{name}"
            case {"type": "function", "name": str(name)}:
                choice.mode, choice.name = pb.ToolChoice.NAMED, name
            case {"type": "allowed_tools", "mode": str(mode), "tools": list(allowed)} if mode in _MODES:
                choice.mode = _MODES[mode]
                names = set(_names(allowed))
                self.offered = [tool for tool in self.offered if tool.name in names]
            case _:
                raise InvalidRequest(_POSSIBLE)
        ToolChoice(choice.mode, choice.name).check(self.offered)
        return choice


def _names(allowed: list[Json]) -> Iterator[str]:
    for each in allowed:
        match each:
            case {"name": str(name), "namespace": str(namespace)}:
                yield f"{namespace}.{name}"
            case {"name": str(name)}:
                yield name
