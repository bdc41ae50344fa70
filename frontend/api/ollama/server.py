"""Routes about the server itself, and those of ollama.com, to which no request is forwarded."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from drover.errors import NotOffered, NotSignedIn
from frontend.api.core.go_json import dumps
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.settings import FrontendSettings


async def status() -> Response:
    return Response(dumps({"cloud": {"disabled": True, "source": "config"}}), media_type=JSON)


async def recommendations() -> Response:
    return Response(dumps({"recommendations": []}), media_type=JSON)


async def me() -> Response:
    raise NotSignedIn("unauthorized")


async def signout() -> Response:
    raise NotSignedIn("you are not currently signed in")


async def web_search() -> Response:
    raise NotOffered("ollama cloud is disabled: web search is unavailable")


async def web_fetch() -> Response:
    raise NotOffered("ollama cloud is disabled: web fetch is unavailable")


def router(settings: FrontendSettings) -> APIRouter:
    routes = direct_router()
    version_body = dumps({"version": settings.ollama_version})

    async def root() -> Response:
        return PlainTextResponse("Ollama is running")

    async def version() -> Response:
        return Response(version_body, media_type=JSON)

    routes.add_api_route("/", root, methods=["GET", "HEAD"])
    routes.add_api_route("/api/version", version, methods=["GET", "HEAD"])
    routes.add_api_route("/api/status", status, methods=["GET"])
    routes.add_api_route("/api/experimental/model-recommendations", recommendations, methods=["GET"])
    routes.add_api_route("/api/me", me, methods=["POST"])
    routes.add_api_route("/api/signout", signout, methods=["POST"])
    routes.add_api_route("/api/user/keys/{key}", signout, methods=["DELETE"])
    routes.add_api_route("/api/experimental/web_search", web_search, methods=["POST"])
    routes.add_api_route("/api/experimental/web_fetch", web_fetch, methods=["POST"])
    return routes
