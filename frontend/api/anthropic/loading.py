"""Tools that a client loads in the course of a conversation (`defer_loading`).

They stay out of the list at the front of the prompt, which thus stays the same and cached; a reference shows
a tool's definition where it stands. From then on it may be called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import cast

import orjson

from drover.json_value import Json
from frontend.api.core.go_json import dump_text
from frontend.api.core.request import Tool


@dataclass(slots=True)
class LoadedTools:
    """`known`: all tools of the request, by name. `deferred`: names of those to be loaded later."""

    known: dict[str, Tool] = field(default_factory=dict)
    deferred: set[str] = field(default_factory=set)
    _loaded: dict[str, None] = field(default_factory=dict)

    def load(self, name: str) -> str:
        """What the model reads where a tool is referred to."""
        tool = self.known.get(name)
        if tool is None:
            return f"{name}\n"
        if name in self.deferred:
            self._loaded[name] = None
        return f"<function>{dump_text(_definition(tool))}</function>\n"

    def add(self, tool: Tool) -> str:
        """One that is defined in a message."""
        if tool.name not in self.known:
            self.known[tool.name] = tool
            self.deferred.add(tool.name)
        return self.load(tool.name)

    def remove(self, name: str) -> str:
        self._loaded.pop(name, None)
        return f"The tool {name} cannot be called any more.\n"

    def offered(self, named: str) -> list[Tool]:
        """`named`: the tool that must be called, which is listed in any case."""
        listed = [
            tool for tool in self.known.values() if tool.name not in self.deferred or tool.name == named
        ]
        later = (self.known[name] for name in self._loaded if name != named)
        return [*listed, *(replace(tool, unlisted=True) for tool in later)]


def _definition(tool: Tool) -> Mapping[str, Json]:
    parameters = cast(Json, orjson.loads(tool.parameters_json)) if tool.parameters_json else {}
    return {"description": tool.description, "name": tool.name, "parameters": parameters}
