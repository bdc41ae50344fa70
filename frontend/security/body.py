"""Request bodies, read no further than they may be long."""

from __future__ import annotations

from starlette.requests import ClientDisconnect, Request

from drover.errors import BodyTooLarge, ClientLeft


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Raises BodyTooLarge, as early as it can be known, and ClientLeft."""
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    chunks: list[bytes] = []
    length = 0
    try:
        async for chunk in request.stream():
            length += len(chunk)
            if length > max_bytes:
                raise _too_large(max_bytes)
            chunks.append(chunk)
    except ClientDisconnect:
        raise ClientLeft("the client left while it sent its request") from None
    return b"".join(chunks)


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"request body too large: this server takes at most {max_bytes} bytes")
