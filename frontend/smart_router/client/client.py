"""The blocking SmartRouter."""

from __future__ import annotations

from collections.abc import Iterator
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


class SmartRouter(BaseRouter[ollama.Client]):
    """Arguments beyond those of SGLang's router (tools, format, options, think, keep_alive) go to the chosen
    client's `chat` unchanged.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to all hosts."""
        for client in self._clients:
            client.close()  # type: ignore[no-untyped-call] # the package's own types stop here

    def should_use_remote(self, prompt: str, verbose: bool = False) -> tuple[bool, str]:
        """The judge's choice and its reason."""
        side, reason = self._ask_judge(messages_of(prompt, None), verbose)
        return side == COMPLEX, reason

    def chat(
        self,
        prompt: str,
        messages: Messages | None = None,
        verbose: bool = False,
        force_local: bool = False,
        force_remote: bool = False,
        **options: Any,  # noqa: ANN401 - the arguments are the ollama client's
    ) -> RouterResult:
        """`messages` are sent instead of `prompt` if given. Raises the other side's error if both fail."""
        sent = messages_of(prompt, messages)
        side, reason = forced_side(force_local, force_remote) or self._ask_judge(sent, verbose)
        try:
            return self._chat(side, sent, reason, verbose, options)
        except FAILURES as error:
            reason = self._fallback(side, error, verbose)
        return self._chat(other_side(side), sent, reason, verbose, options)

    def chat_stream(
        self,
        prompt: str,
        messages: Messages | None = None,
        verbose: bool = False,
        force_local: bool = False,
        force_remote: bool = False,
        **options: Any,  # noqa: ANN401 - the arguments are the ollama client's
    ) -> Iterator[ollama.ChatResponse]:
        """The client's parts. Falls back until the first one."""
        sent = messages_of(prompt, messages)
        side, _ = forced_side(force_local, force_remote) or self._ask_judge(sent, verbose)
        has_begun = False
        try:
            for part in self._stream(side, sent, verbose, options):
                has_begun = True
                yield part
            return
        except FAILURES as error:
            if has_begun:
                raise
            self._fallback(side, error, verbose)
        yield from self._stream(other_side(side), sent, verbose, options)

    def _connect(self, host: str, timeout_seconds: float | None = None) -> ollama.Client:
        return ollama.Client(host=host, timeout=timeout_seconds)

    def _ask_judge(self, messages: Messages, verbose: bool) -> tuple[str, str]:
        call = judge_call(messages, self.judge_model)
        try:
            try:
                response = self.judge_client.chat(**call)
            except ollama.ResponseError as refusal:
                response = self.judge_client.chat(**without_format(call, refusal))
            label = response.message.content
        except FAILURES as error:
            return self._default_choice(error, verbose)
        return self._choice(label, verbose)

    def _chat(
        self, side: str, messages: Messages, reason: str, verbose: bool, options: dict[str, Any]
    ) -> RouterResult:
        client, model = self._target(side, verbose)
        response = client.chat(model=model, messages=messages, **options)
        return self._result(side, model, response, reason)

    def _stream(
        self, side: str, messages: Messages, verbose: bool, options: dict[str, Any]
    ) -> Iterator[ollama.ChatResponse]:
        client, model = self._target(side, verbose)
        yield from client.chat(model=model, messages=messages, stream=True, **options)
