"""The document as a whole."""

from __future__ import annotations

from collections.abc import Mapping

from drover.json_value import Json
from frontend.openapi import (
    embeddings,
    fields,
    inference,
    inference_answers,
    management,
    messages,
    messages_answers,
    models,
    openai_answers,
    openai_fields,
    openai_inference,
    openai_others,
    responses,
    responses_answers,
    server,
    tokens,
)
from frontend.openapi.answers import SENT_REQUEST_ID
from frontend.openapi.schemas import Schema

_ABOUT = """Ollama's own API, and OpenAI's and Anthropic's under /v1, over a fleet of engine workers.

On every path:

- An error is `{"error": "..."}`, under /v1 `{"error": {"message": "...", ...}}`, with a status of its own as
  long as nothing was sent. In a stream that has begun, it is the last line or event.
- A path that does not exist is answered with 404 and `404 page not found`, another method than those listed
  with 405, `405 method not allowed` and an `Allow` header, both as text/plain.
- A slash too many at a path's end is redirected where the path has such a method: a GET with 301, others with
  307. Paths with empty, `.` or `..` segments (`//api/chat`) are redirected to the clean one with 307.
- Every answer has an `X-Request-ID`.
"""


def build(version: str) -> dict[str, Json]:
    """`version`: that of the API which is spoken."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Drover", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "paths": _joined(
            inference.PATHS,
            embeddings.PATHS,
            models.PATHS,
            management.PATHS,
            openai_inference.PATHS,
            openai_others.PATHS,
            responses.PATHS,
            messages.PATHS,
            tokens.PATHS,
            server.PATHS,
        ),
        "components": {
            "schemas": _joined(
                fields.SCHEMAS,
                inference.SCHEMAS,
                inference_answers.SCHEMAS,
                embeddings.SCHEMAS,
                models.SCHEMAS,
                management.SCHEMAS,
                openai_fields.SCHEMAS,
                openai_inference.SCHEMAS,
                openai_answers.SCHEMAS,
                openai_others.SCHEMAS,
                responses.SCHEMAS,
                responses_answers.SCHEMAS,
                messages.SCHEMAS,
                messages_answers.SCHEMAS,
                tokens.SCHEMAS,
            ),
            "parameters": {"RequestId": SENT_REQUEST_ID},
        },
    }


def _joined(*parts: Mapping[str, Schema]) -> dict[str, Json]:
    return {name: schema for part in parts for name, schema in part.items()}
