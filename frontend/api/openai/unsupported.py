"""Routes of OpenAI's API that no engine supports: they check the request and raise CapabilityMissing."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.concurrency import run_in_thread_if_large
from drover.errors import CapabilityMissing
from frontend.api.core.body import INLINE_BYTES, read_body
from frontend.api.generation import Generation
from frontend.http.routes import direct_router
from frontend.observability.request_record import record_of


@dataclass(frozen=True, slots=True)
class UnsupportedRoutes:
    generation: Generation

    async def transcribe(self, http: Request) -> Response:
        """Check the form as Ollama does, then raise CapabilityMissing.

        The whole body is read: many clients do not read a response before they have sent theirs.
        """
        # Imported here: Python's form parser takes 0.5 MB of memory, and few clients transcribe.
        from frontend.api.openai.multipart_form import model_of_form

        settings = self.generation.settings
        body = await read_body(http, settings.max_body_bytes, settings.body_timeout_seconds)
        content_type = http.headers.get("content-type", "")
        name = await run_in_thread_if_large(
            lambda: model_of_form(body, content_type), len(body), INLINE_BYTES
        )
        record_of(http.scope).is_understood = True
        await self.generation.find(http, name)
        raise CapabilityMissing(f'"{name}" does not support audio; no model of this server supports audio')


def router(generation: Generation) -> APIRouter:
    routes = direct_router()
    unsupported = UnsupportedRoutes(generation)
    routes.add_api_route("/v1/audio/transcriptions", unsupported.transcribe, methods=["POST"])
    return routes
