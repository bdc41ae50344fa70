"""From a request's input to the token ids that llama.cpp gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from drover.errors import CapabilityMissing, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.chat.window import Fitted, Window, fit_ids, fit_messages
from engine_worker.engines.llamacpp.api import Json, LlamaApi


@dataclass(frozen=True, slots=True)
class Prompts:
    api: LlamaApi
    context_length: int
    vocabulary_size: int

    async def prepare(self, request: pb.GenerateRequest) -> Fitted:
        """Renders with the model's own template, tokenises, and fits the result into the window."""
        window = Window.of(request, self.context_length)
        match request.WhichOneof("input"):
            case "chat":
                return await self._chat(request.chat, window)
            case "prompt":
                return await self._prompt(request.prompt, window)
            case "raw":
                return fit_ids(await self._known(request.raw), window)
            case "tokens":
                return fit_ids(_not_empty(self._checked(list(request.tokens.ids))), window)
            case _:
                raise InvalidRequest("the request has no input: set chat, prompt, raw or tokens")

    async def _chat(self, chat: pb.ChatInput, window: Window) -> Fitted:
        if any(message.images for message in chat.messages):
            raise CapabilityMissing("this model does not support images")
        tools = [_tool(tool) for tool in chat.tools]

        async def tokens(messages: Sequence[pb.Message]) -> list[int]:
            rendered = [_message(message) for message in messages]
            return await self._known(
                await self.api.apply_template(rendered, tools, add_prompt=not chat.continue_last)
            )

        return await fit_messages(list(chat.messages), window, tokens)

    async def _prompt(self, prompt: pb.PromptInput, window: Window) -> Fitted:
        if prompt.images:
            raise CapabilityMissing("this model does not support images")
        if prompt.HasField("suffix"):
            raise CapabilityMissing("this model does not support insert")
        messages: list[Json] = [{"role": "user", "content": prompt.text}]
        if prompt.HasField("system"):
            messages.insert(0, {"role": "system", "content": prompt.system})
        text = await self.api.apply_template(messages, [], add_prompt=True)
        earlier = self._checked(list(prompt.context))
        ids = await self.api.tokenize(text, add_special=not earlier)
        return fit_ids(_not_empty(earlier + ids), window)

    def _checked(self, ids: list[int]) -> list[int]:
        for token in ids:
            if token >= self.vocabulary_size > 0:
                raise InvalidRequest(
                    f"{token} is not a token of this model, which has {self.vocabulary_size}"
                )
        return ids

    async def _known(self, text: str) -> list[int]:
        return _not_empty(await self.api.tokenize(text, add_special=True))


def _not_empty(ids: list[int]) -> list[int]:
    if not ids:
        raise InvalidRequest("the prompt is empty")
    return ids


def _message(message: pb.Message) -> Json:
    """An OpenAI-style message, as llama.cpp's template code reads it."""
    result: Json = {"role": message.role, "content": message.content}
    if message.thinking:
        result["reasoning_content"] = message.thinking
    if message.tool_calls:
        result["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments_json or "{}"},
            }
            for call in message.tool_calls
        ]
    if message.role == "tool":
        result["tool_call_id"] = message.tool_call_id
        result["name"] = message.tool_name
    return result


def _tool(tool: pb.Tool) -> Json:
    parameters = orjson.loads(tool.parameters_json) if tool.parameters_json else {}
    function = {"name": tool.name, "description": tool.description, "parameters": parameters}
    return {"type": "function", "function": function}
