"""The data of a request that a template sees: messages and tools, or single exchanges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from drover.call_arguments import call_arguments
from drover.go_template.tools import tool_value
from drover.go_template.values import JsonList, JsonMap, NilList, Record, Value
from drover.v1 import engine_pb2 as pb

Data = dict[str, Value]
_BETWEEN = "\n\n"
# The level that `think: true` means to templates with levels.
_ORDINARY_LEVEL = "medium"


@dataclass(frozen=True, slots=True)
class Turns:
    """Exchanges for templates without `.Messages`; the last one has no answer yet."""

    earlier: Sequence[Data]
    last: Data


def chat_data(messages: Sequence[pb.Message], tools: Sequence[pb.Tool], think: pb.Think) -> Data:
    """Raises TemplateError for tools that are not JSON."""
    system = _BETWEEN.join(message.content for message in messages if message.role == "system")
    listed: list[Value] = [_message(message) for message in collated(messages)]
    return {
        "System": system,
        "Messages": listed,
        "Tools": JsonList(tool_value(tool) for tool in tools),
        "Response": "",
        **_thinking(think),
    }


def gap_data(before: str, after: str, think: pb.Think) -> Data:
    return {"Prompt": before, "Suffix": after, "Response": "", **_thinking(think)}


def turns_of(messages: Sequence[pb.Message], think: pb.Think) -> Turns:
    """Begin a new exchange if the current one already has this part or a later one."""
    earlier: list[Data] = []
    system = prompt = response = ""

    def turn() -> Data:
        return {"System": system, "Prompt": prompt, "Response": response, **_thinking(think)}

    for message in collated(messages):
        begins = (message.role == "system" and bool(prompt or response)) or (
            message.role == "user" and bool(response)
        )
        if begins:
            earlier.append(turn())
            system = prompt = response = ""
        match message.role:
            case "system":
                system = message.content
            case "user":
                prompt = message.content
            case "assistant":
                response = message.content
    return Turns(earlier, turn())


def collated(messages: Sequence[pb.Message]) -> list[pb.Message]:
    """Join consecutive messages of one role, except results of tools. Ollama drops thinking and calls of all
    but the first, so that results have no call; here they are kept.
    """
    result: list[pb.Message] = []
    is_own = False
    for message in messages:
        if not result or result[-1].role != message.role or message.role == "tool":
            result.append(message)
            is_own = False
            continue
        if not is_own:
            copy = pb.Message()
            copy.CopyFrom(result[-1])
            result[-1], is_own = copy, True
        joined = result[-1]
        if message.content:
            joined.content += _BETWEEN + message.content
        joined.thinking = _BETWEEN.join(filter(None, (joined.thinking, message.thinking)))
        joined.images.extend(message.images)
        joined.tool_calls.extend(message.tool_calls)
    return result


def _thinking(think: pb.Think) -> Data:
    is_on = think.mode == pb.Think.ON
    return {
        "Think": is_on,
        "ThinkLevel": (think.level or _ORDINARY_LEVEL) if is_on else "",
        "IsThinkSet": think.mode != pb.Think.UNSET,
    }


def _message(message: pb.Message) -> Record:
    calls = NilList(_tool_call(number, call) for number, call in enumerate(message.tool_calls))
    images = NilList("" for _ in message.images)
    return Record(
        "*template.templateMessage",
        {
            "Role": message.role,
            "Content": message.content,
            "Thinking": message.thinking,
            "Images": images,
            "ToolCalls": calls,
            "ToolName": message.tool_name,
            "ToolCallID": message.tool_call_id,
        },
    )


def _tool_call(number: int, call: pb.ToolCall) -> Record:
    function = Record(
        "template.templateToolCallFunction",
        {"Index": number, "Name": call.name, "Arguments": _arguments(call)},
    )
    return Record("template.templateToolCall", {"ID": call.id, "Function": function})


def _arguments(call: pb.ToolCall) -> JsonMap:
    # Every JSON value is a Value; the container types are too narrow to show that.
    return JsonMap(cast("dict[str, Value]", call_arguments(call.arguments_json)))
