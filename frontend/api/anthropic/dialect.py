"""Anthropic's side of an answer."""

from __future__ import annotations

from starlette.responses import Response

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.api.anthropic.encode import Encoder
from frontend.api.anthropic.errors import error_response, new_request_id, stream_error_object
from frontend.api.wire import CONTENT_TYPE, frame

_PING = frame(b'{"type":"ping"}', b"ping")


class AnthropicDialect:
    """Implements frontend.api.response.Dialect."""

    stream_content_type = CONTENT_TYPE

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def lines(self, event: pb.GenerateEvent) -> bytes:
        return self._encoder.lines(event)

    def token(self, text: str, token_id: int) -> bytes:
        return self._encoder.token(text, token_id)

    def body(self, events: list[pb.GenerateEvent]) -> bytes:
        return self._encoder.whole(events)

    def heartbeat(self) -> bytes:
        return _PING

    def error_line(self, error: DroverError) -> bytes:
        return frame(stream_error_object(error, new_request_id()), b"error")

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return error_response(error)
