"""Request bodies, read no further than they may be long."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request

from drover.errors import BodyTooLarge, ClientLeft, DeadlineExceeded
from frontend.security.held_bodies import held_body_of


async def read_body(request: Request, max_bytes: int, timeout_seconds: float) -> bytes:
    """Raises BodyTooLarge, as early as it can be known, DeadlineExceeded and ClientLeft, and QueueFull where
    other requests' bodies leave no room.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    length = 0
    held = held_body_of(request.scope)
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                length += len(chunk)
                if length > max_bytes:
                    raise _too_large(max_bytes)
                held.grow(len(chunk))
                chunks.append(chunk)
    except TimeoutError:
        raise DeadlineExceeded(f"the request did not arrive within {timeout_seconds:g} seconds") from None
    except ClientDisconnect:
        raise ClientLeft("the client left while it sent its request") from None
    return b"".join(chunks)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"request body too large: this server takes at most {max_bytes} bytes")
