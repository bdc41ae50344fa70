"""Tools in llama-server's words: what the prompt shows, and what the grammar of calls is made of.

The prompt shows what Ollama shows, in its order; a grammar is made of the schema with its references.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import Json
from engine_worker.engines.llamacpp.shown_tool import shown_parameters
from engine_worker.schemas.constraint import plain_json
from engine_worker.schemas.functions import Function
from engine_worker.schemas.tool_schema import readable_parameters


def tools_json(functions: Sequence[Function], choice: pb.ToolChoice) -> Json:
    """The members of a body that offer tools, of which llama.cpp makes its grammar."""
    tools = [
        definition(each.tool, readable_parameters(plain_json(each.arguments.schema))) for each in functions
    ]
    body: Json = {"tools": tools, "tool_choice": "auto"}
    if choice.HasField("parallel"):
        body["parallel_tool_calls"] = choice.parallel
    return body


def shown_tools(tools: Sequence[pb.Tool]) -> list[Json]:
    """What the template shows. Their parameters are JSON."""
    return [definition(tool, shown_parameters(json.loads(tool.parameters_json or "{}"))) for tool in tools]


def definition(tool: pb.Tool, parameters: Json) -> Json:
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}
