"""Errors of /v1/responses: statuses and codes chosen by what Codex does on them.

Codex 0.171 shows the message of a 400 and ends its turn, as it does after a 404 with the code
model_not_found. It sends a request again five times after any other status below 500, and twenty-nine times
after one from 500 on; of a 500 it does not show the message. So what the client cannot cure by sending the
request again is a 400, and what it can is a 503. In a stream Codex reads `response.failed` only, and sends
the request again unless the code says that it is in vain. A 429 of a key's limit stays one.
"""

from __future__ import annotations

from starlette.responses import Response

from drover.errors import (
    ERROR_MAPPINGS,
    DeadlineExceeded,
    DroverError,
    InternalError,
    ModelNotFound,
    NeverRetry,
    NotAuthenticated,
    NotPermitted,
    QueueFull,
    RateLimited,
    RetryElsewhere,
    RetryLater,
    mapping_of,
)
from drover.json_value import Json
from frontend.api.openai.errors import code_of, error_response, stream_error_text
from frontend.api.wire import error_text

_BAD_REQUEST, _UNAVAILABLE = 400, 503
# Of errors that another worker may not make.
_RETRY_SECONDS = "1"


def _status(kind: type[DroverError]) -> int:
    if issubclass(kind, ModelNotFound | NotAuthenticated | NotPermitted | RateLimited):
        # Codex reads the code of the first, and OpenAI's client has an exception of its own for each.
        return ERROR_MAPPINGS[kind].status(is_v1=True)
    if issubclass(kind, NeverRetry | DeadlineExceeded | InternalError):
        return _BAD_REQUEST
    if issubclass(kind, RetryElsewhere | RetryLater):
        return _UNAVAILABLE
    return ERROR_MAPPINGS[kind].status(is_v1=True)


STATUSES = {kind: _status(kind) for kind in ERROR_MAPPINGS}


def failure(error: DroverError, line_feed: bool = True) -> Response:
    """The response to a request that failed before its first byte."""
    response = error_response(error, STATUSES[type(error)], line_feed)
    if response.status_code == _UNAVAILABLE:
        response.headers.setdefault("retry-after", _RETRY_SECONDS)
    return response


def reported(error: DroverError) -> dict[str, Json]:
    """The `error` of a failed response."""
    match error:
        case QueueFull():
            seconds = mapping_of(error).retry_after_seconds
            text = f"{stream_error_text(error)}. Please try again in {seconds}s."
            return {"code": "rate_limit_exceeded", "message": text}
        case NeverRetry() | DeadlineExceeded():
            return {"code": code_of(error) or "invalid_prompt", "message": error_text(error)}
        case _:
            return {"code": "server_error", "message": stream_error_text(error)}
