"""The page's files: kept in memory, with an ETag and the headers that confine the page to this server."""

from __future__ import annotations

from hashlib import sha256
from importlib.resources import files

import orjson
from starlette.requests import Request
from starlette.responses import Response

from drover.json_value import Json
from frontend.access.route_roles import CONSOLE_FILES
from frontend.api.wire import JSON

_TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_PAGE = "index.html"
# Scripts and styles come from this server's files only, and the page talks to this server only: text of a
# model or a client that got into the page as markup could neither run nor send anything anywhere.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
CONFINED = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
# Asks each time; the answer is a 304 without a body unless the server was updated.
_REVALIDATED = "no-cache"
NOT_STORED = CONFINED | {"cache-control": "no-store"}


class PageFile:
    """One file. Answers 304 where the browser has it already."""

    def __init__(self, name: str, content: bytes) -> None:
        self.path = "/console" if name == _PAGE else f"/console/{name}"
        self._content = content
        etag = f'"{sha256(content).hexdigest()[:32]}"'
        self._headers = CONFINED | {"etag": etag, "cache-control": _REVALIDATED}
        self._etag = etag
        self._type = _TYPES[name.rpartition(".")[2]]

    async def answer(self, http: Request) -> Response:
        known = http.headers.get("if-none-match", "").split(",")
        if self._etag in (each.strip().removeprefix("W/") for each in known):
            return Response(status_code=304, headers=self._headers)
        return Response(self._content, media_type=self._type, headers=self._headers)


def page_files() -> list[PageFile]:
    """All files of the page, the page itself first."""
    folder = files("frontend.console") / "static"
    return [PageFile(name, (folder / name).read_bytes()) for name in (_PAGE, *CONSOLE_FILES)]


def json_response(value: Json) -> Response:
    """For the page alone: nothing may keep it."""
    return Response(orjson.dumps(value), headers=NOT_STORED, media_type=JSON)
