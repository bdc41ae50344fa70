"""The SmartRouter for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import ollama

from frontend.models.virtual_definition import COMPLEX
from frontend.smart_router.client.base import BaseRouter, RouterResult
from frontend.smart_router.client.conversation import (
    FAILURES,
    Messages,
    forced_side,
    judge_call,
    messages_of,
    other_side,
    without_format,
)


class AsyncSmartRouter(BaseRouter[ollama.AsyncClient]):
    """SmartRouter's methods as coroutines. Cancelling one ends its request at the host."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections to all hosts."""
        for client in self._clients:
            await client.close()  # type: ignore[no-untyped-call] # the package's own types stop here

    async def should_use_remote(self, prompt: str, verbose: bool = False) -> tuple[bool, str]:
        """As SmartRouter.should_use_remote."""
        side, reason = await self._ask_judge(messages_of(prompt, None), verbose)
        return side == COMPLEX, reason

    async def chat(
        self,
        prompt: str,
        messages: Messages | None = None,
        verbose: bool = False,
        force_local: bool = False,
        force_remote: bool = False,
        **options: Any,  # noqa: ANN401 - the arguments are the ollama client's
    ) -> RouterResult:
        """As SmartRouter.chat."""
        sent = messages_of(prompt, messages)
        side, reason = forced_side(force_local, force_remote) or await self._ask_judge(sent, verbose)
        try:
            return await self._chat(side, sent, reason, verbose, options)
        except FAILURES as error:
            reason = self._fallback(side, error, verbose)
        return await self._chat(other_side(side), sent, reason, verbose, options)

    async def chat_stream(
        self,
        prompt: str,
        messages: Messages | None = None,
        verbose: bool = False,
        force_local: bool = False,
        force_remote: bool = False,
        **options: Any,  # noqa: ANN401 - the arguments are the ollama client's
    ) -> AsyncIterator[ollama.ChatResponse]:
        """As SmartRouter.chat_stream."""
        sent = messages_of(prompt, messages)
        side, _ = forced_side(force_local, force_remote) or await self._ask_judge(sent, verbose)
        has_begun = False
        try:
            async for part in await self._stream(side, sent, verbose, options):
                has_begun = True
                yield part
            return
        except FAILURES as error:
            if has_begun:
                raise
            self._fallback(side, error, verbose)
        async for part in await self._stream(other_side(side), sent, verbose, options):
            yield part

    def _connect(self, host: str, timeout_seconds: float | None = None) -> ollama.AsyncClient:
        """Without a timeout of its own: `_ask_judge` has one for the whole call."""
        return ollama.AsyncClient(host=host)

    async def _ask_judge(self, messages: Messages, verbose: bool) -> tuple[str, str]:
        call = judge_call(messages, self.judge_model)
        try:
            async with asyncio.timeout(self.judge_timeout_seconds):
                try:
                    response = await self.judge_client.chat(**call)
                except ollama.ResponseError as refusal:
                    response = await self.judge_client.chat(**without_format(call, refusal))
            label = response.message.content
        except (*FAILURES, TimeoutError) as error:
            return self._default_choice(error, verbose)
        return self._choice(label, verbose)

    async def _chat(
        self, side: str, messages: Messages, reason: str, verbose: bool, options: dict[str, Any]
    ) -> RouterResult:
        client, model = self._target(side, verbose)
        response = await client.chat(model=model, messages=messages, **options)
        return self._result(side, model, response, reason)

    async def _stream(
        self, side: str, messages: Messages, verbose: bool, options: dict[str, Any]
    ) -> AsyncIterator[ollama.ChatResponse]:
        client, model = self._target(side, verbose)
        return await client.chat(model=model, messages=messages, stream=True, **options)
