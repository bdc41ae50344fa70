"""Errors of Cohere's API."""

from __future__ import annotations

from starlette.responses import Response

from drover.errors import DroverError, mapping_of, retry_after_seconds
from frontend.api.core.go_json import dumps
from frontend.api.wire import JSON, error_text


def error_response(error: DroverError) -> Response:
    mapping = mapping_of(error)
    headers = {}
    if (seconds := retry_after_seconds(error)) is not None:
        headers["retry-after"] = str(seconds)
    body = dumps({"message": error_text(error)})
    return Response(body, mapping.status(is_v1=True), headers, media_type=JSON)
