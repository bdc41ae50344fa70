"""Translate messages and tools to those of SGLang's OpenAI layer."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pydantic import field_validator
from sglang.srt.entrypoints.openai.protocol import ChatCompletionMessageGenericParam

from drover.call_arguments import call_arguments_json
from drover.v1 import engine_pb2 as pb

PLACEHOLDER = "drover-image:"


class AnyMessage(ChatCompletionMessageGenericParam):
    """Ollama does not restrict roles: a template may know more of them than OpenAI."""

    role: str

    @field_validator("role", mode="before")
    @classmethod
    def _normalize_role(cls, value: object) -> str:
        return str(value)


def tool_choice(choice: pb.ToolChoice, names: Sequence[str]) -> object:
    """Raises ValueError for a function that was not offered."""
    if not names:
        return "none"
    match choice.mode:
        case pb.ToolChoice.NONE:
            return "none"
        case pb.ToolChoice.REQUIRED:
            return "required"
        case pb.ToolChoice.NAMED:
            if choice.name not in names:
                raise ValueError(f"the tool choice {choice.name!r} is not among the tools")
            return {"type": "function", "function": {"name": choice.name}}
        case _:
            return "auto"


def tool_definition(tool: pb.Tool) -> dict[str, object]:
    function: dict[str, object] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = json.loads(tool.parameters_json) if tool.parameters_json else {}
    return {"type": "function", "function": function}


def any_message(message: pb.Message, first_image: int) -> AnyMessage:
    images = [
        {"type": "image_url", "image_url": {"url": f"{PLACEHOLDER}{first_image + number}"}}
        for number in range(len(message.images))
    ]
    fields: dict[str, object] = {"role": message.role, "content": message.content}
    if images:
        fields["content"] = [*images, {"type": "text", "text": message.content}]
    if message.thinking:
        fields["reasoning_content"] = message.thinking
    if message.tool_calls:
        fields["tool_calls"] = [
            {
                "id": call.id or f"call_{number}",
                "index": number,
                "type": "function",
                "function": {"name": call.name, "arguments": call_arguments_json(call.arguments_json)},
            }
            for number, call in enumerate(message.tool_calls)
        ]
    if message.role == "tool":
        fields["name"] = message.tool_name or None
        fields["tool_call_id"] = message.tool_call_id or None
    return AnyMessage(**fields)
