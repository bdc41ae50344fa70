"""The routes about the server itself."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from frontend.dialects.ollama.dialect import JSON
from frontend.dialects.ollama.go_json import dumps
from frontend.http.routes import direct_router
from frontend.settings import FrontendSettings


def router(settings: FrontendSettings) -> APIRouter:
    routes = direct_router()
    version_body = dumps({"version": settings.ollama_version})

    async def root() -> Response:
        return PlainTextResponse("Ollama is running")

    async def version() -> Response:
        return Response(version_body, media_type=JSON)

    routes.add_api_route("/", root, methods=["GET", "HEAD"])
    routes.add_api_route("/api/version", version, methods=["GET", "HEAD"])
    return routes
