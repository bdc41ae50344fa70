"""Ollama's form of an error: `{"error": "…"}`."""

from __future__ import annotations

from starlette.responses import Response

from drover.errors import DroverError, mapping_of, retry_after_seconds
from frontend.api.core.go_json import dumps
from frontend.api.wire import JSON, error_text


def error_object(error: DroverError) -> bytes:
    return dumps({"error": error_text(error)})


def error_response(error: DroverError, content_type: str = JSON, status: int | None = None) -> Response:
    """With `status`, or else that of the table (ollama-contract.md, "Errors")."""
    answer = mapping_of(error)
    headers = {"content-type": content_type}
    if (seconds := retry_after_seconds(error)) is not None:
        headers["retry-after"] = str(seconds)
    return Response(error_object(error), status or answer.http, headers)
