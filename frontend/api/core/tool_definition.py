"""The definition of a tool as a part of a message, where a client loaded it in mid-conversation."""

from __future__ import annotations

from typing import cast

import orjson

from drover.json_value import Json
from frontend.api.core.go_json import dump_text
from frontend.api.core.request import Tool


def definition_text(tool: Tool) -> str:
    """The tool's name, description and parameters, for the model to read."""
    parameters = cast(Json, orjson.loads(tool.parameters_json)) if tool.parameters_json else {}
    definition = {"description": tool.description, "name": tool.name, "parameters": parameters}
    return f"<function>{dump_text(definition)}</function>\n"
