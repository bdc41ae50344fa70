"""Helpers of ASGI middlewares: one header of a request, and a response without a body."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from starlette.types import Scope, Send

FORBIDDEN = 403


def header_of(scope: Scope, name: bytes) -> bytes:
    """The first header of that name, as Go's servers read it; empty if there is none."""
    for each, value in scope["headers"]:
        if each == name:
            return cast(bytes, value)
    return b""


async def send_empty_response(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Send a response without a body."""
    # A 204 must not have a Content-Length (RFC 9110, 8.6).
    length = [] if status == 204 else [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *length]})
    await send({"type": "http.response.body", "body": b""})
