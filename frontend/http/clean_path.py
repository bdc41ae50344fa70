"""Paths with empty, `.` and `..` segments are redirected to the clean one, as Go's ServeMux does it. A client
whose base URL ends with a slash asks for `//api/chat`.
"""

from __future__ import annotations

import posixpath
from http import HTTPStatus

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

_HTML = "text/html; charset=utf-8"
# As Go writes them.
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;"})


class CleanPath:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = scope["raw_path"].decode("latin-1")
            if ("//" in path or "/." in path) and (clean := cleaned(path)) != path:
                await redirect(scope, clean, HTTPStatus.TEMPORARY_REDIRECT)(scope, receive, send)
                return
        await self._app(scope, receive, send)


def cleaned(path: str) -> str:
    """As Go's cleanPath: a slash at the end stays. Escaped characters are not touched."""
    clean = posixpath.normpath("/" + path.lstrip("/"))
    return f"{clean}/" if path.endswith("/") and clean != "/" else clean


def redirect(scope: Scope, path: str, status: HTTPStatus) -> Response:
    """To the escaped path with the request's query. Only a GET gets a page, as from Go's http.Redirect."""
    query = scope["query_string"].decode("latin-1")
    location = f"{path}?{query}" if query else path
    method = scope["method"]
    page = f'<a href="{location.translate(_ENTITIES)}">{status.phrase}</a>.\n\n' if method == "GET" else ""
    response = Response(page, status, {"location": location})
    if method in ("GET", "HEAD"):
        response.headers["content-type"] = _HTML
    return response
