"""SGLang's SmartRouter, without a frontend: a client of two Ollama servers.

The judge's answer is constrained, what it sees is data, it has a time limit, and streams fall back too.
"""

from __future__ import annotations

from collections.abc import Iterator
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


class SmartRouter:
    """Short requests to the local model, the others to the remote one. What a method takes beyond SGLang's
    arguments (tools, format, options, think, keep_alive) goes to the chosen client's `chat` as it is.
    """

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
        self.local_client = ollama.Client(host=local_host)
        self.remote_client = ollama.Client(host=remote_host)
        self.judge_client = ollama.Client(host=self.judge_host, timeout=judge_timeout_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """The connections to all hosts."""
        for client in (self.local_client, self.remote_client, self.judge_client):
            client.close()  # type: ignore[no-untyped-call] # the package's own types stop here

    def should_use_remote(self, prompt: str, verbose: bool = False) -> tuple[bool, str]:
        """Whether, and why."""
        side, reason = self._judged(messages_of(prompt, None), verbose)
        return side is Side.COMPLEX, reason

    def chat(
        self,
        prompt: str,
        messages: Messages | None = None,
        verbose: bool = False,
        force_local: bool = False,
        force_remote: bool = False,
        **passed: Any,  # noqa: ANN401 - the arguments are the ollama client's
    ) -> Answer:
        """`messages` go before `prompt`. Raises what the other side raises when both fail."""
        asked = messages_of(prompt, messages)
        side, reason = forced_side(force_local, force_remote) or self._judged(asked, verbose)
        try:
            return self._asked(side, asked, reason, verbose, passed)
        except FAILURES as error:
            say(verbose, f"{LOCATIONS[side]} failed: {error}, falling back...")
        return self._asked(side.other, asked, f"Fallback from {LOCATIONS[side]}", verbose, passed)

    def chat_stream(
        self,
        prompt: str,
        messages: Messages | None = None,
        verbose: bool = False,
        force_local: bool = False,
        force_remote: bool = False,
        **passed: Any,  # noqa: ANN401 - the arguments are the ollama client's
    ) -> Iterator[ollama.ChatResponse]:
        """The client's parts. Falls back until the first one."""
        asked = messages_of(prompt, messages)
        side, _ = forced_side(force_local, force_remote) or self._judged(asked, verbose)
        has_begun = False
        try:
            for part in self._parts(side, asked, verbose, passed):
                has_begun = True
                yield part
            return
        except FAILURES as error:
            if has_begun:
                raise
            say(verbose, f"{LOCATIONS[side]} failed: {error}, falling back...")
        yield from self._parts(side.other, asked, verbose, passed)

    def _judged(self, messages: Messages, verbose: bool) -> tuple[Side, str]:
        try:
            said = self._judge_says(judge_call(messages, self.judge_model))
        except FAILURES as error:
            say(verbose, f"LLM Judge failed: {error}, defaulting to local")
            return Side.SIMPLE, "Judge failed, defaulting to local"
        say(verbose, f"LLM Judge: {said}")
        return choice_of(said)

    def _judge_says(self, call: JudgeCall) -> str | None:
        try:
            return self.judge_client.chat(**call).message.content
        except ollama.ResponseError as refusal:
            return self.judge_client.chat(**without_format(call, refusal)).message.content

    def _asked(
        self, side: Side, messages: Messages, reason: str, verbose: bool, passed: dict[str, Any]
    ) -> Answer:
        client, model = self._behind(side, verbose)
        content = client.chat(model=model, messages=messages, **passed).message.content or ""
        return Answer(content=content, model=model, location=LOCATIONS[side], reason=reason)

    def _parts(
        self, side: Side, messages: Messages, verbose: bool, passed: dict[str, Any]
    ) -> Iterator[ollama.ChatResponse]:
        client, model = self._behind(side, verbose)
        yield from client.chat(model=model, messages=messages, stream=True, **passed)

    def _behind(self, side: Side, verbose: bool) -> tuple[ollama.Client, str]:
        is_remote = side is Side.COMPLEX
        model = self.remote_model if is_remote else self.local_model
        say(verbose, f"-> {LOCATIONS[side]} | Model: {model}")
        return (self.remote_client if is_remote else self.local_client), model
