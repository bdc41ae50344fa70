"""The console's routes: the page's files, the live state, the models to chat with, and the chat."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from frontend.access.key_checker import KeyChecker
from frontend.api.generation import Generation
from frontend.api.ollama.inference import Inference
from frontend.api.ollama.models import capabilities
from frontend.console.console import Console
from frontend.console.event_stream import EventStream
from frontend.console.key_list import key_list
from frontend.console.login import Login
from frontend.console.page_files import json_response, page_files
from frontend.console.recorder import CHAT_ROUTE
from frontend.console.same_origin import check_own_page
from frontend.http.routes import Handler, direct_router
from frontend.models.catalog import Catalog
from frontend.observability.request_record import record_of


def router(
    console: Console, catalog: Catalog, generation: Generation, checker: KeyChecker, usage: Handler
) -> APIRouter:
    """`usage`: answers /api/usage."""
    routes = direct_router()
    chat = Inference(generation).chat
    login = Login(console.keys, console.sessions, checker)

    async def events(http: Request) -> Response:
        key = record_of(http.scope).key
        session = console.sessions.find(http.scope["headers"]) if key is not None else None
        return EventStream(console, console.view_of(key), session)

    async def models() -> Response:
        """The models that can chat, and what else they can."""
        listed = await catalog.models()
        return json_response(
            {
                "models": [
                    {"name": model.name.short, "capabilities": list(capabilities(model))}
                    for model in listed
                    if model.capabilities.completion
                ]
            }
        )

    async def own_chat(http: Request) -> Response:
        """As /api/chat, for the page alone."""
        check_own_page(http)
        return await chat(http)

    async def keys() -> Response:
        return json_response({"keys": key_list(console.keys.all.values())})

    for file in page_files():
        routes.add_api_route(file.path, file.answer, methods=["GET", "HEAD"])
    routes.add_api_route("/console/session", login.session, methods=["GET"])
    routes.add_api_route("/console/login", login.login, methods=["POST"])
    routes.add_api_route("/console/logout", login.logout, methods=["POST"])
    routes.add_api_route("/console/events", events, methods=["GET"])
    routes.add_api_route("/console/models", models, methods=["GET"])
    routes.add_api_route("/console/keys", keys, methods=["GET"])
    routes.add_api_route("/console/usage", usage, methods=["GET"])
    routes.add_api_route(CHAT_ROUTE, own_chat, methods=["POST"])
    return routes
