"""Anthropic's envelope of an error: the same for a whole answer and for an event in a stream."""

from __future__ import annotations

import secrets

from starlette.responses import Response

from drover.errors import ContextExceeded, DroverError, InvalidRequest, answer_of, is_passing
from drover.json_value import Json
from frontend.api.core.go_json import dumps
from frontend.api.wire import JSON, error_text


def error_object(error: DroverError, request_id: str, kind: str = "") -> bytes:
    """`kind`: the error's type, where it is not the table's."""
    body: dict[str, Json] = {"type": kind or answer_of(error).anthropic_type, "message": _message(error)}
    if isinstance(error, InvalidRequest) and error.details:
        body["details"] = {**error.details}
    return dumps({"type": "error", "error": body, "request_id": request_id})


def stream_error_object(error: DroverError, request_id: str) -> bytes:
    """The last event of a stream that broke. Clients have no status to go by there: `overloaded_error` is the
    type on which they send the request again.
    """
    return error_object(error, request_id, "overloaded_error" if is_passing(error) else "")


def new_request_id() -> str:
    return f"req_{secrets.token_hex(12)}"


def error_response(error: DroverError, line_feed: bool = True) -> Response:
    answer, request_id = answer_of(error), new_request_id()
    headers = {"content-type": JSON, "request-id": request_id}
    if answer.retry_after_seconds is not None:
        headers["retry-after"] = str(answer.retry_after_seconds)
    body = error_object(error, request_id) + (b"\n" if line_feed else b"")
    return Response(body, answer.status(is_v1=True), headers)


def _message(error: DroverError) -> str:
    """Claude Code makes a conversation shorter when it reads that its prompt is too long."""
    if isinstance(error, ContextExceeded) and error.context_tokens:
        return f"prompt is too long: {error.prompt_tokens} tokens > {error.context_tokens} maximum"
    return error_text(error)
