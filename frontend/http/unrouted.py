"""What is answered where no route fits: Go's texts, `Allow`, and a redirect for a slash too many."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from frontend.http.clean_path import redirect

# In the order in which upstream names them.
_METHODS = ("HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def allowed_methods(routes: Sequence[BaseRoute], scope: Scope) -> tuple[str, ...]:
    """Of all routes of the scope's path; none where there is no such path."""
    return tuple(method for method in _METHODS if _is_route(routes, {**scope, "method": method}))


def _is_route(routes: Sequence[BaseRoute], scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in routes)


async def answer_unrouted(request: Request, error: Exception) -> Response:
    """For the HTTPException of a router that found no route."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return _without_slash(request) or _plain("404 page not found", 404)
    response = _plain("405 method not allowed", 405)
    response.headers["allow"] = ", ".join(allowed_methods(request.app.routes, request.scope))
    return response


def _without_slash(request: Request) -> Response | None:
    """The redirect, where the path without its last slash has such a method."""
    path = request.scope["raw_path"].decode("latin-1")
    if not path.endswith("/") or path == "/":
        return None
    scope = {**request.scope, "path": request.scope["path"].removesuffix("/")}
    if not _is_route(request.app.routes, scope):
        return None
    status = HTTPStatus.MOVED_PERMANENTLY if request.method == "GET" else HTTPStatus.TEMPORARY_REDIRECT
    return redirect(request.scope, path.removesuffix("/"), status)


def _plain(text: str, status: int) -> Response:
    response = PlainTextResponse(text, status)
    response.headers["content-type"] = "text/plain"
    return response
