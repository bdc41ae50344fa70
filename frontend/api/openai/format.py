"""Framing, errors and usage of chat completions and completions."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from starlette.responses import Response

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.api import wire
from frontend.api.core.go_json import dumps, dumps_text
from frontend.api.multi_choice import together
from frontend.api.openai.errors import error_response, stream_error_object


class OpenAIFormat:
    """Framing of streams and errors of both routes. Implements frontend.api.response.ResponseFormat."""

    stream_content_type = wire.CONTENT_TYPE

    def heartbeat(self) -> bytes:
        return wire.COMMENT

    def error_line(self, error: DroverError) -> bytes:
        """The error as an event, on which the official SDKs raise; Ollama's stream just ends."""
        return wire.frame(stream_error_object(error))

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return error_response(error)


_NS_PER_MS = 1_000_000
DONE = b"[DONE]"
FINGERPRINT = b'"system_fingerprint":"fp_ollama",'


def head(kind: str, object_name: bytes, model: str, response_id: str = "") -> bytes:
    """The members of a new response before its choices."""
    begin = head_without_model(kind, object_name, response_id)
    return b'%b"model":%b,%b' % (begin, dumps_text(model), FINGERPRINT)


def head_without_model(kind: str, object_name: bytes, response_id: str = "") -> bytes:
    """The members before `model`. `response_id`: the client's own; empty for a new one."""
    response_id = response_id or f"{kind}-{secrets.token_hex(12)}"
    return b'{"id":%b,"object":"%b","created":%d,' % (dumps_text(response_id), object_name, time.time())


def finish_reason(done: pb.Done, called: bool = False) -> bytes:
    """The finish reason. `called`: the choice has tool calls, for which OpenAI has a reason of its own."""
    if done.finish_reason == pb.Done.LENGTH:
        return b"length"
    return b"tool_calls" if called else b"stop"


class FinishedChoices:
    """The choices that have finished. `per_prompt`: number of choices of each prompt."""

    def __init__(self, choices: int, per_prompt: int) -> None:
        self._dones: list[pb.Done | None] = [None] * choices
        self._missing = choices
        self._per_prompt = per_prompt

    def add(self, choice: int, done: pb.Done) -> bool:
        """Record a choice's end; return whether it was the last one."""
        self._dones[choice] = done
        self._missing -= 1
        return self._missing == 0

    def usage(self) -> bytes:
        """The usage of the finished choices."""
        return usage(self._dones, self._per_prompt)

    def timings(self) -> bytes:
        """The `timings` of the finished choices."""
        return timings(self._dones, self._per_prompt)


ZERO_USAGE = b'{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'


def usage(dones: Sequence[pb.Done | None], choices_per_prompt: int) -> bytes:
    """The usage object. `dones`: the choices' ends, grouped by prompt."""
    done = together(dones, choices_per_prompt)
    return (
        b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
        b'"prompt_tokens_details":{"cached_tokens":%d},'
        b'"completion_tokens_details":{"reasoning_tokens":%d}}'
        % (
            done.prompt_tokens,
            done.completion_tokens,
            done.prompt_tokens + done.completion_tokens,
            done.cached_tokens,
            done.reasoning_tokens,
        )
    )


def timings(dones: Sequence[pb.Done | None], choices_per_prompt: int) -> bytes:
    """llama.cpp's `timings`, as Ollama sends them with a stream's usage. Counts are the usage's, so that
    `prompt_n` has the cached tokens, which take no time. Choices are generated at the same time: the times
    are those of the slowest one.
    """
    done = together(dones, choices_per_prompt)
    prompts, generated = done.prompt_tokens, done.completion_tokens
    measured = [each.timings for each in dones if each is not None]
    prompt_ms = max(each.prefill_ns for each in measured) / _NS_PER_MS
    generated_ms = max(each.decode_ns for each in measured) / _NS_PER_MS
    return dumps(
        {
            "prompt_n": prompts,
            "prompt_ms": prompt_ms,
            "prompt_per_second": _per_second(prompts, prompt_ms),
            "predicted_n": generated,
            "predicted_ms": generated_ms,
            "predicted_per_second": _per_second(generated, generated_ms),
        }
    )


def _per_second(count: int, milliseconds: float) -> float:
    return count / milliseconds * 1000 if milliseconds > 0 else 0.0
