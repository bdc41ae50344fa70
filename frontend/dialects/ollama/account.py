"""The routes about ollama.com: there are no accounts here, and nothing is passed on.

Contract: ollama-contract.md, "Accounts and cloud".
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from drover.errors import NotOffered, NotSignedIn
from frontend.dialects.ollama.dialect import JSON
from frontend.dialects.ollama.go_json import dumps
from frontend.http.routes import direct_router


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


def router() -> APIRouter:
    routes = direct_router()
    routes.add_api_route("/api/status", status, methods=["GET"])
    routes.add_api_route("/api/experimental/model-recommendations", recommendations, methods=["GET"])
    routes.add_api_route("/api/me", me, methods=["POST"])
    routes.add_api_route("/api/signout", signout, methods=["POST"])
    routes.add_api_route("/api/user/keys/{key}", signout, methods=["DELETE"])
    routes.add_api_route("/api/experimental/web_search", web_search, methods=["POST"])
    routes.add_api_route("/api/experimental/web_fetch", web_fetch, methods=["POST"])
    return routes
