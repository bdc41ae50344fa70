"""The document as a whole, and the route that gives it."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from fastapi import APIRouter
from starlette.responses import Response

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
from frontend.settings import FrontendSettings

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


def router(settings: FrontendSettings) -> APIRouter:
    routes = APIRouter()
    document = orjson.dumps(build(settings.ollama_version))

    async def openapi() -> Response:
        return Response(document, media_type="application/json")

    routes.add_api_route("/openapi.json", openapi, methods=["GET", "HEAD"])
    return routes
