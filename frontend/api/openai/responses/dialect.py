"""The Responses API's side of an answer."""

from __future__ import annotations

from starlette.responses import Response

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.api.openai.errors import error_response
from frontend.api.openai.responses.encode import Encoder
from frontend.api.wire import COMMENT, CONTENT_TYPE


class ResponsesDialect:
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
        return COMMENT

    def error_line(self, error: DroverError) -> bytes:
        return self._encoder.failed(error)

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return error_response(error)
