"""The same as client.py for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Self

import ollama

from frontend.models.virtual_definition import Side
from frontend.smart_router.client.conversation import (
    FAILURES,
    LOCATIONS,
    Answer,
    JudgeCall,
    Messages,
    choice_of,
    forced_side,
    judge_call,
    messages_of,
    say,
    without_format,
)


class AsyncSmartRouter:
    """SmartRouter's methods as coroutines. Cancelling one ends its request at the host."""

    def __init__(
        self,
        local_host: str = "http://localhost:11434",
        remote_host: str = "http://localhost:30001",
        local_model: str = "llama3.2",
        remote_model: str = "Qwen/Qwen2.5-1.5B-Instruct",
        judge_model: str | None = None,
        judge_host: str | None = None,
        judge_timeout_seconds: float = 10.0,
    ) -> None:
        self.local_model = local_model
        self.remote_model = remote_model
        self.judge_model = judge_model or local_model
        self.judge_host = judge_host or local_host
        self.local_client = ollama.AsyncClient(host=local_host)
        self.remote_client = ollama.AsyncClient(host=remote_host)
        self.judge_client = ollama.AsyncClient(host=self.judge_host)
        self._judge_timeout_seconds = judge_timeout_seconds

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self.close()

    async def close(self) -> None:
        """The connections to all hosts."""
        for client in (self.local_client, self.remote_client, self.judge_client):
            await client.close()  # type: ignore[no-untyped-call] # the package's own types stop here

    async def should_use_remote(self, prompt: str, verbose: bool = False) -> tuple[bool, str]:
        """Whether, and why."""
        side, reason = await self._judged(messages_of(prompt, None), verbose)
        return side is Side.COMPLEX, reason

    async def chat(
        self,
        prompt: str,
        messages: Messages | None = None,
        verbose: bool = False,
        force_local: bool = False,
        force_remote: bool = False,
        **passed: Any,  # noqa: ANN401 - the arguments are the ollama client's
    ) -> Answer:
        asked = messages_of(prompt, messages)
        side, reason = forced_side(force_local, force_remote) or await self._judged(asked, verbose)
        try:
            return await self._asked(side, asked, reason, verbose, passed)
        except FAILURES as error:
            say(verbose, f"{LOCATIONS[side]} failed: {error}, falling back...")
        return await self._asked(side.other, asked, f"Fallback from {LOCATIONS[side]}", verbose, passed)

    async def chat_stream(
        self,
        prompt: str,
        messages: Messages | None = None,
        verbose: bool = False,
        force_local: bool = False,
        force_remote: bool = False,
        **passed: Any,  # noqa: ANN401 - the arguments are the ollama client's
    ) -> AsyncIterator[ollama.ChatResponse]:
        asked = messages_of(prompt, messages)
        side, _ = forced_side(force_local, force_remote) or await self._judged(asked, verbose)
        has_begun = False
        try:
            async for part in await self._parts(side, asked, verbose, passed):
                has_begun = True
                yield part
            return
        except FAILURES as error:
            if has_begun:
                raise
            say(verbose, f"{LOCATIONS[side]} failed: {error}, falling back...")
        async for part in await self._parts(side.other, asked, verbose, passed):
            yield part

    async def _judged(self, messages: Messages, verbose: bool) -> tuple[Side, str]:
        try:
            async with asyncio.timeout(self._judge_timeout_seconds):
                said = await self._judge_says(judge_call(messages, self.judge_model))
        except (*FAILURES, TimeoutError) as error:
            say(verbose, f"LLM Judge failed: {error}, defaulting to local")
            return Side.SIMPLE, "Judge failed, defaulting to local"
        say(verbose, f"LLM Judge: {said}")
        return choice_of(said)

    async def _judge_says(self, call: JudgeCall) -> str | None:
        try:
            return (await self.judge_client.chat(**call)).message.content
        except ollama.ResponseError as refusal:
            return (await self.judge_client.chat(**without_format(call, refusal))).message.content

    async def _asked(
        self, side: Side, messages: Messages, reason: str, verbose: bool, passed: dict[str, Any]
    ) -> Answer:
        client, model = self._behind(side, verbose)
        answer = await client.chat(model=model, messages=messages, **passed)
        return Answer(
            content=answer.message.content or "", model=model, location=LOCATIONS[side], reason=reason
        )

    async def _parts(
        self, side: Side, messages: Messages, verbose: bool, passed: dict[str, Any]
    ) -> AsyncIterator[ollama.ChatResponse]:
        client, model = self._behind(side, verbose)
        return await client.chat(model=model, messages=messages, stream=True, **passed)

    def _behind(self, side: Side, verbose: bool) -> tuple[ollama.AsyncClient, str]:
        is_remote = side is Side.COMPLEX
        model = self.remote_model if is_remote else self.local_model
        say(verbose, f"-> {LOCATIONS[side]} | Model: {model}")
        return (self.remote_client if is_remote else self.local_client), model
