"""Reading a JSON body into a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from starlette.requests import Request

from drover.aside import aside
from frontend.dialects.ollama.go_json import Json, loads
from frontend.security.body import read_body
from frontend.settings import FrontendSettings

Wanted = TypeVar("Wanted")
# Beyond this, reading takes milliseconds (and a malformed body far longer): other requests go on meanwhile.
INLINE_BYTES = 256 * 1024


async def read_json(request: Request, settings: FrontendSettings, read: Callable[[Json], Wanted]) -> Wanted:
    """The body's first JSON value, whatever its Content-Type, as what `read` makes of it.

    Raises InvalidRequest, BodyTooLarge, DeadlineExceeded, ClientLeft, QueueFull.
    """
    body = await read_body(request, settings.max_body_bytes, settings.body_timeout_seconds)
    return await aside(lambda: read(loads(body)), len(body), INLINE_BYTES)
