"""OpenAI's error objects: in a response with a status, and as an event in a stream."""

from __future__ import annotations

from starlette.responses import Response

from drover.errors import (
    ContextExceeded,
    DroverError,
    ErrorMapping,
    ModelNotFound,
    NotAuthenticated,
    NotPermitted,
    RateLimited,
    is_temporary,
    mapping_of,
    retry_after_seconds,
)
from frontend.api.core.go_json import dumps
from frontend.api.wire import JSON, error_text

_FIRST_SERVER_ERROR = 500
# OpenAI's codes. Without `model_not_found` Codex retries five times; on `context_length_exceeded` it compacts
# the conversation.
_CODES: dict[type[DroverError], str] = {
    ModelNotFound: "model_not_found",
    ContextExceeded: "context_length_exceeded",
    NotAuthenticated: "invalid_api_key",
    NotPermitted: "insufficient_permissions",
    RateLimited: "rate_limit_exceeded",
}
_TOKEN_LIMIT = "tokens_per_minute"


def code_of(error: DroverError) -> str | None:
    """OpenAI's code of the error, if it has one."""
    return _CODES.get(type(error))


def error_object(error: DroverError, kind: str = "") -> bytes:
    """The error object. `kind`: its type, if not that of the table in drover/errors.py."""
    return _object(error, error_text(error), kind or _type_of(error))


def _type_of(error: DroverError) -> str:
    """OpenAI's type of a rate limit says what it counts."""
    if isinstance(error, RateLimited) and error.limit == _TOKEN_LIMIT:
        return "tokens"
    return mapping_of(error).openai_type


def stream_error_text(error: DroverError) -> str:
    """The message of an error in a stream, which has no error status.

    Several clients retry only if the message names a status that allows it.
    """
    text = error_text(error)
    return f"service unavailable: {text}" if is_temporary(error) else text


def stream_error_object(error: DroverError) -> bytes:
    """The last event of a failed stream. `server_error` is OpenAI's type for errors that may be retried."""
    kind = "server_error" if is_temporary(error) else mapping_of(error).openai_type
    return _object(error, stream_error_text(error), kind)


def _object(error: DroverError, message: str, kind: str) -> bytes:
    return dumps({"error": {"message": message, "type": kind, "param": None, "code": code_of(error)}})


def error_response(error: DroverError, status: int | None = None, line_feed: bool = True) -> Response:
    """The response. `status` replaces the table's status, and then determines the error's type."""
    mapping = mapping_of(error)
    headers = {"content-type": JSON}
    if (seconds := retry_after_seconds(error)) is not None:
        headers["retry-after"] = str(seconds)
    body = error_object(error, _kind_of(error, status, mapping)) + (b"\n" if line_feed else b"")
    return Response(body, status or mapping.status(is_v1=True), headers)


def _kind_of(error: DroverError, status: int | None, mapping: ErrorMapping) -> str:
    if status is None or status == mapping.status(is_v1=True):
        return _type_of(error)
    return "api_error" if status >= _FIRST_SERVER_ERROR else "invalid_request_error"
