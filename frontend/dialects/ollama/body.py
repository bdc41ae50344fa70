"""Reading a JSON body without holding up other requests."""

from __future__ import annotations

import asyncio

from starlette.requests import Request

from frontend.dialects.ollama.go_json import Json, loads
from frontend.security.body import read_body

# Beyond this, parsing takes milliseconds (and a malformed body far longer), so it happens in a thread.
_INLINE_BYTES = 256 * 1024


async def read_json(request: Request, max_bytes: int) -> Json:
    """The body's first JSON value, whatever its Content-Type.

    Raises InvalidRequest, BodyTooLarge, ClientLeft.
    """
    body = await read_body(request, max_bytes)
    if len(body) <= _INLINE_BYTES:
        return loads(body)
    return await asyncio.to_thread(loads, body)
