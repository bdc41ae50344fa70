"""OpenAI-style messages, as llama.cpp's template code reads them."""

from __future__ import annotations

from collections.abc import Sequence

from drover.call_arguments import call_arguments_json
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import Json

_BETWEEN = "\n\n"


def message_json(message: pb.Message, shows_thinking: bool = True) -> Json:
    result: Json = {"role": message.role, "content": message.content}
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


def messages_json(messages: Sequence[pb.Message]) -> list[Json]:
    """Without the thinking before the last question, as in Ollama: models are not meant to see it. What was
    thought between calls since then stays.
    """
    asked = max((at for at, each in enumerate(messages) if each.role == "user"), default=0)
    return [message_json(each, shows_thinking=at >= asked) for at, each in enumerate(messages)]


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
