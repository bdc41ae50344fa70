"""OpenAI's envelope of an error: the same for a whole answer and for a frame in a stream."""

from __future__ import annotations

from starlette.responses import Response

from drover.errors import (
    ContextExceeded,
    DroverError,
    ErrorMapping,
    ModelNotFound,
    is_temporary,
    mapping_of,
)
from frontend.api.core.go_json import dumps
from frontend.api.wire import JSON, error_text

_SERVERS_FAULT = 500


# OpenAI's codes. Without the former Codex asks six times; at the latter it shortens its conversation.
_CODES: dict[type[DroverError], str] = {
    ModelNotFound: "model_not_found",
    ContextExceeded: "context_length_exceeded",
}


def code_of(error: DroverError) -> str | None:
    return _CODES.get(type(error))


def error_object(error: DroverError, kind: str = "") -> bytes:
    """`kind`: the error's type, where it is not the table's."""
    return _object(error, error_text(error), kind or mapping_of(error).openai_type)


def stream_error_text(error: DroverError) -> str:
    """Clients have no status to go by in mid-stream: several send the request again only where the message
    names a status that is to be retried.
    """
    text = error_text(error)
    return f"service unavailable: {text}" if is_temporary(error) else text


def stream_error_object(error: DroverError) -> bytes:
    """The last frame of a stream that broke. `server_error` is OpenAI's own type for what may be retried."""
    kind = "server_error" if is_temporary(error) else mapping_of(error).openai_type
    return _object(error, stream_error_text(error), kind)


def _object(error: DroverError, message: str, kind: str) -> bytes:
    return dumps({"error": {"message": message, "type": kind, "param": None, "code": code_of(error)}})


def error_response(error: DroverError, status: int | None = None, line_feed: bool = True) -> Response:
    """With the status that the table says, or with `status`, which then tells the type."""
    answer = mapping_of(error)
    headers = {"content-type": JSON}
    if answer.retry_after_seconds is not None:
        headers["retry-after"] = str(answer.retry_after_seconds)
    body = error_object(error, _kind_of(status, answer)) + (b"\n" if line_feed else b"")
    return Response(body, status or answer.status(is_v1=True), headers)


def _kind_of(status: int | None, answer: ErrorMapping) -> str:
    if status is None or status == answer.status(is_v1=True):
        return answer.openai_type
    return "api_error" if status >= _SERVERS_FAULT else "invalid_request_error"
