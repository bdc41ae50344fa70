"""Ollama's side of an answer."""

from __future__ import annotations

from starlette.responses import Response

from drover.errors import DroverError, mapping_of
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import dumps
from frontend.api.ollama.encode import Encoder
from frontend.api.wire import JSON, error_text


class OllamaDialect:
    """Implements frontend.api.response.Dialect."""

    stream_content_type = b"application/x-ndjson"

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder

    def lines(self, event: pb.GenerateEvent) -> bytes:
        return self._encoder.lines(event)

    def token(self, text: str, token_id: int) -> bytes:
        return self._encoder.token(text, token_id)

    def body(self, events: list[pb.GenerateEvent]) -> bytes:
        return self._encoder.collected(events)

    def heartbeat(self) -> bytes:
        return self._encoder.silence()

    def error_line(self, error: DroverError) -> bytes:
        return error_object(error) + b"\n"

    def error_response(self, error: DroverError, streamed: bool) -> Response:
        return error_response(error, "application/json" if streamed else JSON)


def error_object(error: DroverError) -> bytes:
    return dumps({"error": error_text(error)})


def error_response(error: DroverError, content_type: str = JSON, status: int | None = None) -> Response:
    """`{"error": "…"}` with `status`, or that of the table (ollama-contract.md, "Errors")."""
    answer = mapping_of(error)
    headers = {"content-type": content_type}
    if answer.retry_after_seconds is not None:
        headers["retry-after"] = str(answer.retry_after_seconds)
    return Response(error_object(error), status or answer.http, headers)
