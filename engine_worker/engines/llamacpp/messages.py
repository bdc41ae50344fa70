"""OpenAI-style messages and tools, as llama.cpp's template code reads them."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from drover.call_arguments import call_arguments_json
from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import Json
from engine_worker.engines.llamacpp.tool_schema import readable_parameters

_CHOICES = {pb.ToolChoice.AUTO: "auto", pb.ToolChoice.REQUIRED: "required", pb.ToolChoice.NAMED: "required"}

_BETWEEN = "\n\n"


def message_json(message: pb.Message) -> Json:
    result: Json = {"role": message.role, "content": message.content}
    if message.thinking:
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


def last_words_joined(messages: Sequence[pb.Message]) -> list[pb.Message]:
    """llama.cpp continues one assistant's message at the end, and only one that says something: without any
    text it would leave out its beginning too. Texts are joined as Ollama joins a role's messages.
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
            content=_BETWEEN.join(filter(None, (joined[-1].content, last.content))),
            thinking=_BETWEEN.join(filter(None, (joined[-1].thinking, last.thinking))),
        )
    return joined


def _is_text_of_assistant(message: pb.Message) -> bool:
    return message.role == "assistant" and not message.tool_calls


def tools_json(tools: Sequence[pb.Tool], choice: pb.ToolChoice) -> Json:
    """The members of a body that offer tools; empty where none may be called.

    llama.cpp can make the model call, but not a certain function, so that one is offered alone. With "none"
    it would show the tools all the same, and an attempt to call one as text.
    """
    if choice.mode == pb.ToolChoice.NAMED:
        tools = [tool for tool in tools if tool.name == choice.name]
        if not tools:
            raise InvalidRequest(
                f"tool_choice names {choice.name!r}, which is not one of the request's tools"
            )
    if choice.mode == pb.ToolChoice.REQUIRED and not tools:
        raise InvalidRequest("tool_choice asks for a tool call, but the request has no tools")
    if choice.mode == pb.ToolChoice.NONE or not tools:
        return {}
    body: Json = {"tools": [_tool(tool) for tool in tools], "tool_choice": _CHOICES[choice.mode]}
    if choice.HasField("parallel"):
        body["parallel_tool_calls"] = choice.parallel
    return body


def _tool(tool: pb.Tool) -> Json:
    try:
        parameters = orjson.loads(tool.parameters_json or "{}")
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(f"the parameters of tool {tool.name!r} are not JSON: {error}") from error
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": _readable(tool.name, parameters),
    }
    return {"type": "function", "function": function}


def _readable(name: str, parameters: object) -> Json:
    try:
        return readable_parameters(parameters)
    except RecursionError as error:
        raise InvalidRequest(f"the parameters of tool {name!r} are nested too deeply") from error
