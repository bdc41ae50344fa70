"""Render prompts with a Go template (drover/go_template): the request's own, or the worker's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Protocol

from drover.errors import CapabilityMissing, InvalidRequest, TemplateFailed
from drover.go_template.errors import TemplateError
from drover.go_template.parse_async import parse_async
from drover.go_template.template import Template
from drover.v1 import engine_pb2 as pb
from engine_worker.prompt.window import Fitted, Window, fit_ids, fit_messages

_TEMPLATED = ("chat", "prompt")


class Encode(Protocol):
    """Tokenises a text; with `add_special` also the tokens that the model wants at its beginning."""

    def __call__(self, text: str, add_special: bool) -> Awaitable[list[int]]: ...


@dataclass(frozen=True, slots=True)
class GoPrompt:
    """A request and the template that renders it."""

    template: Template
    request: pb.GenerateRequest

    @property
    def messages(self) -> Sequence[pb.Message]:
        """The messages of a chat, or a prompt as a conversation."""
        if self.request.WhichOneof("input") == "chat":
            return self.request.chat.messages
        prompt = self.request.prompt
        user = pb.Message(role="user", content=prompt.text)
        return (
            [pb.Message(role="system", content=prompt.system), user] if prompt.HasField("system") else [user]
        )

    async def fit(self, window: Window, encode: Encode) -> Fitted[None]:
        """Render in a thread (a template may take a second), and truncate as with any template.

        Raises TemplateFailed, InvalidRequest for an empty prompt, ContextExceeded without `truncate`.
        """
        prompt = self.request.prompt
        if not prompt.HasField("suffix") and not prompt.context:
            return await fit_messages(self.messages, window, lambda kept: self._tokens(kept, encode))
        earlier = list(prompt.context)
        text = await self._rendered(self.messages)
        ids = earlier + await encode(text, add_special=not earlier)
        return fit_ids(_not_empty(ids), window)

    async def text(self) -> str:
        """Render all messages. Raises TemplateFailed."""
        return await self._rendered(self.messages)

    async def _tokens(self, messages: Sequence[pb.Message], encode: Encode) -> list[int]:
        return _not_empty(await encode(await self._rendered(messages), add_special=True))

    async def _rendered(self, messages: Sequence[pb.Message]) -> str:
        try:
            return await asyncio.to_thread(self._render, messages)
        except TemplateError as error:
            raise TemplateFailed(error.message) from error

    def _render(self, messages: Sequence[pb.Message]) -> str:
        request = self.request
        if request.prompt.HasField("suffix"):
            return self.template.render_gap(request.prompt.text, request.prompt.suffix, request.think)
        tools = [tool for tool in request.chat.tools if not tool.unlisted]
        return self.template.render_chat(messages, tools, request.think)


async def go_prompt_of(request: pb.GenerateRequest, own: Template | None) -> GoPrompt | None:
    """The request with its Go template, or the worker's (`own`); None if there is neither.

    Raises InvalidRequest for a template that cannot be parsed, or that does not apply to the input,
    CapabilityMissing for what the template cannot render.
    """
    if request.WhichOneof("input") not in _TEMPLATED:
        if request.template:
            raise InvalidRequest(
                "a template makes a prompt of a chat or of a prompt, not of raw text or tokens"
            )
        return None
    template = await _parsed(request.template) if request.template else own
    if template is None:
        return None
    if request.prompt.images or any(message.images for message in request.chat.messages):
        raise CapabilityMissing(
            "images do not go together with a Go template, which cannot say where this model sees them; "
            "leave out the images or the template"
        )
    if request.prompt.HasField("suffix") and not template.uses("suffix"):
        raise CapabilityMissing("this model does not support insert: its template does not mention .Suffix")
    return GoPrompt(template, request)


async def _parsed(source: str) -> Template:
    try:
        return await parse_async(source)
    except TemplateError as error:
        raise InvalidRequest(error.message) from error


def _not_empty(ids: list[int]) -> list[int]:
    if not ids:
        raise InvalidRequest("the prompt is empty")
    return ids
