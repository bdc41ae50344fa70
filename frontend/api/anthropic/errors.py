"""Anthropic's error objects: in a response with a status, and as an event in a stream."""

from __future__ import annotations

import secrets

from starlette.responses import Response

from drover.errors import (
    ContextExceeded,
    DroverError,
    InvalidRequest,
    is_temporary,
    mapping_of,
    retry_after_seconds,
)
from drover.json_value import Json
from frontend.api.core.go_json import dumps
from frontend.api.wire import JSON, error_text


def error_object(error: DroverError, request_id: str, kind: str = "") -> bytes:
    """The error object. `kind`: its type, if not that of the table in drover/errors.py."""
    body: dict[str, Json] = {"type": kind or mapping_of(error).anthropic_type, "message": _message(error)}
    if isinstance(error, InvalidRequest) and error.details:
        body["details"] = {**error.details}
    return dumps({"type": "error", "error": body, "request_id": request_id})


def stream_error_object(error: DroverError, request_id: str) -> bytes:
    """The last event of a failed stream.

    A stream has no error status: clients retry on the type `overloaded_error`.
    """
    return error_object(error, request_id, "overloaded_error" if is_temporary(error) else "")


def new_request_id() -> str:
    return f"req_{secrets.token_hex(12)}"


def error_response(error: DroverError, line_feed: bool = True) -> Response:
    """The response with the status of the table in drover/errors.py."""
    answer, request_id = mapping_of(error), new_request_id()
    headers = {"content-type": JSON, "request-id": request_id}
    if (seconds := retry_after_seconds(error)) is not None:
        headers["retry-after"] = str(seconds)
    body = error_object(error, request_id) + (b"\n" if line_feed else b"")
    return Response(body, answer.status(is_v1=True), headers)


def _message(error: DroverError) -> str:
    """The message. Claude Code compacts a conversation if the error says "prompt is too long"."""
    if isinstance(error, ContextExceeded) and error.context_tokens:
        return f"prompt is too long: {error.prompt_tokens} tokens > {error.context_tokens} maximum"
    return error_text(error)
