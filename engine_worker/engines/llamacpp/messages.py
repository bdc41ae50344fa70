"""Messages and tools in OpenAI's form, as llama.cpp's template code reads them.

A template is shown a tool as Ollama shows it (its fields, in its order); the grammar of calls is made of the
tool's schema with references resolved.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

from drover.call_arguments import call_arguments_json
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.schemas.call_grammar import Function
from engine_worker.schemas.constraint import plain_json
from engine_worker.schemas.tool_schema import readable_parameters

_MESSAGE_SEPARATOR = "\n\n"


def message_json(message: pb.Message, shows_thinking: bool = True) -> JsonObject:
    result: JsonObject = {"role": message.role, "content": message.content}
    if message.thinking and shows_thinking:
        result["reasoning_content"] = message.thinking
    if message.tool_calls:
        result["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call_arguments_json(call.arguments_json)},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        result["tool_call_id"] = message.tool_call_id
        result["name"] = message.tool_name
    return result


def messages_json(messages: Sequence[pb.Message]) -> list[JsonObject]:
    """Messages without the thinking before the last user message, as in Ollama. Thinking between tool calls
    since then is kept.
    """
    last_question = max((at for at, each in enumerate(messages) if each.role == "user"), default=0)
    return [message_json(each, shows_thinking=at >= last_question) for at, each in enumerate(messages)]


def join_last_assistant_messages(messages: Sequence[pb.Message]) -> list[pb.Message]:
    """Join the assistant's messages at the end into one, and drop them if they are empty.

    llama.cpp continues only one assistant's message, and renders an empty one without its header. Texts are
    joined as Ollama joins consecutive messages of a role.
    """
    joined = list(messages)
    while joined and _is_text_of_assistant(joined[-1]):
        last = joined.pop()
        if not (last.content or last.thinking):
            continue
        if not (joined and _is_text_of_assistant(joined[-1])):
            return [*joined, last]
        joined[-1] = pb.Message(
            role=last.role,
            content=_MESSAGE_SEPARATOR.join(filter(None, (joined[-1].content, last.content))),
            thinking=_MESSAGE_SEPARATOR.join(filter(None, (joined[-1].thinking, last.thinking))),
        )
    return joined


def _is_text_of_assistant(message: pb.Message) -> bool:
    return message.role == "assistant" and not message.tool_calls


def tools_json(functions: Sequence[Function], choice: pb.ToolChoice) -> JsonObject:
    """The members of a body that offer tools; llama.cpp makes its grammar of calls from them."""
    tools = [
        definition(each.tool, readable_parameters(plain_json(each.arguments.schema))) for each in functions
    ]
    body: JsonObject = {"tools": tools, "tool_choice": "auto"}
    if choice.HasField("parallel"):
        body["parallel_tool_calls"] = choice.parallel
    return body


def shown_tools(tools: Sequence[pb.Tool]) -> list[JsonObject]:
    """Tools as the template shows them. `parameters_json` must be valid JSON."""
    return [definition(tool, shown_parameters(json.loads(tool.parameters_json or "{}"))) for tool in tools]


def definition(tool: pb.Tool, parameters: JsonObject) -> JsonObject:
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}


_PARAMETERS_FIELDS = ("$defs", "items", "required")
_PROPERTY_FIELDS = ("anyOf", "type", "items", "description", "enum", "properties", "required")


def shown_parameters(parameters: object) -> JsonObject:
    """A function's parameters as Ollama's decoder keeps them, in its order.

    A property's `$ref` is kept too, which Ollama drops: without it such a property has no meaning.
    """
    known = _object(parameters)
    kept = {name: known[name] for name in _PARAMETERS_FIELDS if known.get(name)}
    return {"type": known.get("type") or "object", **kept, "properties": _properties(known)}


def _properties(schema: JsonObject) -> JsonObject:
    return {name: _property(value) for name, value in _object(schema.get("properties")).items()}


def _property(schema: object) -> JsonObject:
    known = _object(schema)
    kept: JsonObject = {name: known[name] for name in ("$ref", *_PROPERTY_FIELDS) if known.get(name)}
    if "properties" in kept:
        kept["properties"] = _properties(known)
    if isinstance(kept.get("anyOf"), list):
        kept["anyOf"] = [_property(each) for each in cast("list[object]", known["anyOf"])]
    return kept


def _object(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}
