"""`/openapi.json`. The document is made when it is first asked for: few do, and its parts take 2 MB."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import orjson
from starlette.responses import Response

from frontend.http.routes import DirectRoute
from frontend.settings import FrontendSettings


def routes(settings: FrontendSettings) -> Sequence[DirectRoute]:
    @cache
    def document() -> bytes:
        from frontend.openapi.document import build

        return orjson.dumps(build(settings.ollama_version))

    async def openapi() -> Response:
        return Response(document(), media_type="application/json")

    return [
        DirectRoute("/openapi.json", openapi, "GET", "HEAD"),
    ]
