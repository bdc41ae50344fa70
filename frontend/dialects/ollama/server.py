"""The routes about the server itself."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.responses import PlainTextResponse, Response

from frontend.dialects.ollama.dialect import JSON
from frontend.dialects.ollama.go_json import dumps
from frontend.http.routes import DirectRoute
from frontend.settings import FrontendSettings


def routes(settings: FrontendSettings) -> Sequence[DirectRoute]:
    version_body = dumps({"version": settings.ollama_version})

    async def root() -> Response:
        return PlainTextResponse("Ollama is running")

    async def version() -> Response:
        return Response(version_body, media_type=JSON)

    return [
        DirectRoute("/", root, "GET", "HEAD"),
        DirectRoute("/api/version", version, "GET", "HEAD"),
    ]
