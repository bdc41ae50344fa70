"""What chat completions and completions have in common around their choices."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

from starlette.responses import Response

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.api import wire
from frontend.api.core.go_json import dumps_text
from frontend.api.openai.errors import error_response, stream_error_object


class OpenAIFormat:
    """How both routes frame a stream and report errors. Implements frontend.api.response.ResponseFormat."""

    stream_content_type = wire.CONTENT_TYPE

    def heartbeat(self) -> bytes:
        return wire.COMMENT

    def error_line(self, error: DroverError) -> bytes:
        """The official SDKs raise on it. Upstream's stream just ends."""
        return wire.frame(stream_error_object(error))

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return error_response(error)


DONE = b"[DONE]"
FINGERPRINT = b'"system_fingerprint":"fp_ollama",'


def head(kind: str, object_name: bytes, model: str) -> bytes:
    """The members before the choices, of a new answer."""
    return b'%b"model":%b,%b' % (beginning(kind, object_name), dumps_text(model), FINGERPRINT)


def beginning(kind: str, object_name: bytes) -> bytes:
    return b'{"id":"%b-%b","object":"%b","created":%d,' % (
        kind.encode(),
        secrets.token_hex(12).encode(),
        object_name,
        time.time(),
    )


def finish_reason(done: pb.Done, called: bool = False) -> bytes:
    """`called`: the answer has tool calls, for which the protocol has a reason of its own."""
    if done.finish_reason == pb.Done.LENGTH:
        return b"length"
    return b"tool_calls" if called else b"stop"


class FinishedChoices:
    """How the choices of an answer ended. `per_prompt`: how many choices each prompt has."""

    def __init__(self, choices: int, per_prompt: int) -> None:
        self._dones: list[pb.Done | None] = [None] * choices
        self._missing = choices
        self._per_prompt = per_prompt

    def saw(self, choice: int, done: pb.Done) -> bool:
        """Whether it was the last one."""
        self._dones[choice] = done
        self._missing -= 1
        return self._missing == 0

    def usage(self) -> bytes:
        dones: Sequence[pb.Done] = [done for done in self._dones if done is not None]
        return usage(dones, self._per_prompt)


NOTHING_USED = b'{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'


def usage(dones: Sequence[pb.Done], choices_per_prompt: int) -> bytes:
    """`dones`: the choices' ends, those of one prompt beside each other. Each prompt counts once, and of its
    tokens those are cached that no choice had to compute anew.
    """
    prompts = [dones[at : at + choices_per_prompt] for at in range(0, len(dones), choices_per_prompt)]
    prompt_tokens = sum(max(done.prompt_tokens for done in same) for same in prompts)
    cached_tokens = sum(min(done.cached_tokens for done in same) for same in prompts)
    completion_tokens = sum(done.completion_tokens for done in dones)
    reasoning_tokens = sum(done.reasoning_tokens for done in dones)
    return (
        b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
        b'"prompt_tokens_details":{"cached_tokens":%d},'
        b'"completion_tokens_details":{"reasoning_tokens":%d}}'
        % (
            prompt_tokens,
            completion_tokens,
            prompt_tokens + completion_tokens,
            cached_tokens,
            reasoning_tokens,
        )
    )
