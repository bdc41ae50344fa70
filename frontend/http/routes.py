"""Routes without FastAPI's parameter injection, and their lookup by path in one step."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.datastructures import URLPath
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class DirectRoute(APIRoute):
    """A route that calls its handler with the request, or without arguments.

    Saves the resolution of parameters and dependencies that FastAPI does for each request.
    """

    def get_route_handler(self) -> Handler:
        endpoint = self.endpoint
        return endpoint if inspect.signature(endpoint).parameters else _without_request(endpoint)


def direct_router() -> APIRouter:
    """A router whose routes are DirectRoutes."""
    return APIRouter(route_class=DirectRoute)


def routes_of(routers: Iterable[APIRouter]) -> Sequence[BaseRoute]:
    """The routers' routes: a table of those without path parameters, then the others one by one."""
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return [
        PathTable([route for route in routes if not route.param_convertors]),
        *(route for route in routes if route.param_convertors),
    ]


class PathTable(BaseRoute):
    """Routes without path parameters, in a dictionary.

    Starlette's router matches the routes' patterns one after the other, about forty here; a lookup in the
    table costs the same for each path.
    """

    def __init__(self, routes: Sequence[APIRoute]) -> None:
        self.routes = routes
        self._by_path: dict[str, dict[str, APIRoute]] = {}
        for route in routes:
            by_method = self._by_path.setdefault(route.path, {})
            by_method |= dict.fromkeys(route.methods or (), route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        by_method = self._by_path.get(scope["path"]) if scope["type"] == "http" else None
        if by_method is None:
            return Match.NONE, {}
        route = by_method.get(scope["method"])
        match = Match.FULL if route else Match.PARTIAL
        route = route or next(iter(by_method.values()))
        return match, {"endpoint": route.endpoint, "path_params": {}, "route": route}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the matched route, which refuses a method that the path does not have."""
        await scope["route"].handle(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: object) -> URLPath:
        raise NoMatchFound(name, path_params)


def _without_request(endpoint: Callable[[], Awaitable[Response]]) -> Handler:
    async def handle(_: Request) -> Response:
        return await endpoint()

    return handle
