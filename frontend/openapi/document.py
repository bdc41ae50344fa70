"""Assembly of the document from its parts."""

from __future__ import annotations

from collections.abc import Mapping

from drover.json_value import Json
from frontend.openapi import (
    anthropic_messages,
    decisions,
    fields,
    ollama_embeddings,
    ollama_inference,
    ollama_management,
    ollama_models,
    openai_common,
    openai_compaction,
    openai_inference,
    openai_models,
    openai_responses,
    openai_stored_responses,
    scoring,
    server,
    tokens,
)
from frontend.openapi.operations import SENT_REQUEST_ID
from frontend.openapi.rate_limits import with_rate_limits
from frontend.openapi.schema import Schema

_ABOUT = """Ollama's own API, and OpenAI's and Anthropic's under /v1, over a fleet of engine workers.

On every path:

- An error is `{"error": "..."}`, under /v1 `{"error": {"message": "...", ...}}`, with the error's status if
  no part of the response has been sent. In a stream that has begun, it is the last line or event.
- An unknown path gets 404 and `404 page not found`; a method that is not listed gets 405, `405 method not
  allowed` and an `Allow` header. Both are text/plain. So is the 426 that a websocket handshake gets on
  `/v1/responses`.
- A path with a superfluous trailing slash is redirected if the path without it has the method: a GET with
  301, others with 307. Paths with empty, `.` or `..` segments (`//api/chat`) are redirected to the clean path
  with 307.
- Every response has an `X-Request-ID`.
- Where keys are used, a request without a valid one gets 401 with `WWW-Authenticate`, on unknown paths too,
  and one whose key has not the role that the route needs gets 403. `/`, `/api/version`, `/healthz` and
  `/readyz` need no key.
"""


def build(version: str) -> dict[str, Json]:
    """The document. `version`: the version of Ollama's API that is served."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Drover", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": with_rate_limits(
            _joined(
                ollama_inference.PATHS,
                ollama_embeddings.PATHS,
                ollama_models.PATHS,
                ollama_management.PATHS,
                openai_inference.PATHS,
                openai_models.PATHS,
                openai_responses.PATHS,
                openai_compaction.PATHS,
                openai_stored_responses.PATHS,
                anthropic_messages.PATHS,
                decisions.PATHS,
                scoring.PATHS,
                tokens.PATHS,
                server.PATHS,
            )
        ),
        "components": {
            "schemas": _joined(
                fields.SCHEMAS,
                ollama_inference.SCHEMAS,
                ollama_embeddings.SCHEMAS,
                ollama_models.SCHEMAS,
                ollama_management.SCHEMAS,
                openai_common.SCHEMAS,
                openai_inference.SCHEMAS,
                openai_models.SCHEMAS,
                openai_responses.SCHEMAS,
                openai_compaction.SCHEMAS,
                openai_stored_responses.SCHEMAS,
                anthropic_messages.SCHEMAS,
                decisions.SCHEMAS,
                scoring.SCHEMAS,
                tokens.SCHEMAS,
            ),
            "parameters": {"RequestId": SENT_REQUEST_ID},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "basic": {"type": "http", "scheme": "basic", "description": "The password is the key."},
            },
        },
        "security": [{}, {"bearer": []}, {"apiKey": []}, {"basic": []}],
    }


def _joined(*parts: Mapping[str, Schema]) -> dict[str, Json]:
    return {name: schema for part in parts for name, schema in part.items()}
