"""OpenAI's side of an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from starlette.responses import Response

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.api import wire
from frontend.api.openai.errors import error_response, stream_error_object


class Encoder(Protocol):
    """Chat completions, or completions of prompts."""

    def lines(self, choice: int, event: pb.GenerateEvent) -> bytes: ...

    def token(self, choice: int, text: str) -> bytes: ...

    def body(self, answers: Sequence[Sequence[pb.GenerateEvent]]) -> bytes: ...


class OpenAIDialect:
    """Implements frontend.api.multi_choice.ChoicesDialect."""

    stream_content_type = wire.CONTENT_TYPE

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def lines(self, choice: int, event: pb.GenerateEvent) -> bytes:
        return self._encoder.lines(choice, event)

    def token(self, choice: int, text: str, token_id: int) -> bytes:
        return self._encoder.token(choice, text)

    def body(self, answers: Sequence[Sequence[pb.GenerateEvent]]) -> bytes:
        return self._encoder.body(answers)

    def heartbeat(self) -> bytes:
        return wire.COMMENT

    def error_line(self, error: DroverError) -> bytes:
        """The official SDKs raise on it. Upstream's stream just ends."""
        return wire.frame(stream_error_object(error))

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return error_response(error)
