"""Stops requests that would circle between frontends whose workers or smart routers name each other.

The trail of a request is a header with a mark for each hop. Within a frontend it is in a context variable,
so that the code between route and worker need not pass it on.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Awaitable
from contextvars import ContextVar

from starlette.types import ASGIApp, Receive, Scope, Send

from drover.errors import WorkerUnreachable
from frontend.http.asgi import header_of

HEADER = "x-drover-trail"
_NAME = HEADER.encode()
_MAX_HOPS = 8
_TRAIL = re.compile(rf"[0-9a-f]{{16}}(,[0-9a-f]{{16}}){{0,{_MAX_HOPS - 1}}}")
_trail: ContextVar[str] = ContextVar("trail", default="")


class LoopGuard:
    """ASGI middleware that reads the trail. A header in any other form is ignored."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Not a coroutine, which each send would have to pass through."""
        if scope["type"] == "http":
            written = header_of(scope, _NAME).decode("latin-1")
            _trail.set(written if _TRAIL.fullmatch(written) else "")
        return self._app(scope, receive, send)


class Hop:
    """The hop from this frontend to one model on one host."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(8)

    def headers(self) -> dict[str, str]:
        """Headers for a request that takes this hop. Raises WorkerUnreachable if it has taken it before."""
        marks = _trail.get().split(",") if _trail.get() else []
        if self._mark in marks or len(marks) >= _MAX_HOPS:
            raise WorkerUnreachable(
                "this request came back here from the Ollama host that it would be sent to: these servers' "
                "workers or smart routers name each other",
                is_lasting=True,
            )
        return {HEADER: ",".join([*marks, self._mark])}
