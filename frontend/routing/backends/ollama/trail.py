"""The ways that a request has taken from frontend to frontend: those that name each other's models as their
own would otherwise send it round for ever.

A request's trail is in its context, not in the arguments of all that lies between its route and a worker.
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
_MOST = 8
_TRAIL = re.compile(rf"[0-9a-f]{{16}}(,[0-9a-f]{{16}}){{0,{_MOST - 1}}}")
_trail: ContextVar[str] = ContextVar("trail", default="")


class WithTrail:
    """ASGI middleware. No trail of ours is longer or looks otherwise, so that any other one means nothing."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """No coroutine of its own, through which each send would have to pass."""
        if scope["type"] == "http":
            written = header_of(scope, _NAME).decode("latin-1")
            _trail.set(written if _TRAIL.fullmatch(written) else "")
        return self._app(scope, receive, send)


class Way:
    """From this frontend to one model of one host."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(8)

    def headers(self) -> dict[str, str]:
        """For a request that goes this way. Raises WorkerUnreachable where it has been here before."""
        marks = _trail.get().split(",") if _trail.get() else []
        if self._mark in marks or len(marks) >= _MOST:
            raise WorkerUnreachable(
                "this request came back here from the Ollama host that it would be sent to: these servers' "
                "workers or smart routers name each other",
                is_lasting=True,
            )
        return {HEADER: ",".join([*marks, self._mark])}
