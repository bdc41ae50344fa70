"""Responses where no route fits: redirects to a clean path, 404 and 405 with the texts of Go's net/http.

A websocket handshake on a path whose clients also speak HTTP gets 426: Codex 0.171 then sends a POST at once,
where other statuses make it try six times more.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

_HTML = "text/html; charset=utf-8"
# As Go's http.Redirect escapes them.
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})
_WEBSOCKET_PATHS = frozenset({"/v1/responses"})
# In the order of Ollama's `Allow` header.
_METHODS = ("HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class CleanPath:
    """ASGI middleware: redirects a path with empty, `.` or `..` segments to the clean one, as Go's ServeMux.

    A client whose base URL ends with a slash requests `//api/chat`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["raw_path"].decode("latin-1")
            if ("//" in path or "/." in path) and (clean := clean_path(path)) != path:
                await _redirect(scope, clean, HTTPStatus.TEMPORARY_REDIRECT)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def clean_path(path: str) -> str:
    """The path as Go's cleanPath returns it: a trailing slash and escaped characters stay."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return f"{clean}/" if path.endswith("/") and clean != "/" else clean


def allowed_methods(routes: Sequence[BaseRoute], scope: Scope) -> tuple[str, ...]:
    """The methods that the scope's path has; empty if the path does not exist."""
    return tuple(method for method in _METHODS if _has_route(routes, {**scope, "method": method}))


async def answer_unrouted(request: Request, error: Exception) -> Response:
    """Exception handler for the HTTPException of a router that found no route."""
    assert isinstance(error, HTTPException)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return _redirect_without_slash(request) or _plain("404 page not found", 404)
    if request.url.path in _WEBSOCKET_PATHS and "sec-websocket-key" in request.headers:
        response = _plain("426 websockets are not supported here, send a POST", 426)
        # RFC 9110 (15.5.22) wants a protocol that is spoken.
        response.headers["upgrade"] = "HTTP/1.1"
        return response
    response = _plain("405 method not allowed", 405)
    response.headers["allow"] = ", ".join(allowed_methods(request.app.routes, request.scope))
    return response


def _redirect_without_slash(request: Request) -> Response | None:
    """The redirect to the path without its trailing slash; None if that path lacks the request's method."""
    path = request.scope["raw_path"].decode("latin-1")
    if not path.endswith("/") or path == "/":
        return None
    scope = {**request.scope, "path": request.scope["path"].removesuffix("/")}
    if not _has_route(request.app.routes, scope):
        return None
    status = HTTPStatus.MOVED_PERMANENTLY if request.method == "GET" else HTTPStatus.TEMPORARY_REDIRECT
    return _redirect(request.scope, path.removesuffix("/"), status)


def _redirect(scope: Scope, path: str, status: HTTPStatus) -> Response:
    """A redirect to the escaped `path` with the request's query. Only a GET gets a page, as from Go."""
    query = scope["query_string"].decode("latin-1")
    location = f"{path}?{query}" if query else path
    method = scope["method"]
    page = f'<a href="{location.translate(_ENTITIES)}">{status.phrase}</a>.\n\n' if method == "GET" else ""
    response = Response(page, status, {"location": location})
    if method in ("GET", "HEAD"):
        response.headers["content-type"] = _HTML
    return response


def _has_route(routes: Sequence[BaseRoute], scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in routes)


def _plain(text: str, status: int) -> Response:
    response = PlainTextResponse(text, status)
    response.headers["content-type"] = "text/plain"
    return response
