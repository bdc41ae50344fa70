"""GET /openapi.json. The document is built on the first request: few clients fetch it, and it takes 2 MB."""

from __future__ import annotations

from functools import cache

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from frontend.http.routes import direct_router
from frontend.settings import FrontendSettings


def router(settings: FrontendSettings) -> APIRouter:
    routes = direct_router()

    @cache
    def document() -> bytes:
        from frontend.openapi.document import build

        return orjson.dumps(build(settings.ollama_version))

    async def openapi() -> Response:
        return Response(document(), media_type="application/json")

    routes.add_api_route("/openapi.json", openapi, methods=["GET", "HEAD"])
    return routes
