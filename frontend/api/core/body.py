"""Request bodies: read up to a limit, decompressed, and parsed as the dialect's clients expect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from io import BytesIO
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request

from drover.concurrency import run_in_thread_if_large
from drover.errors import BodyTooLarge, ClientLeft, DeadlineExceeded, InvalidRequest
from frontend.api.core.go_json import Json, loads
from frontend.middleware.held_bodies import held_body_of
from frontend.observability.request_record import record_of
from frontend.settings import FrontendSettings


async def read_body(request: Request, max_bytes: int, timeout_seconds: float) -> bytes:
    """Read the whole body. Raises BodyTooLarge, from the announced length if there is one, DeadlineExceeded,
    ClientLeft, and QueueFull where other requests' bodies leave no room.
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


async def body_chunks(request: Request, silence_seconds: float) -> AsyncGenerator[bytes, None]:
    """The body as it comes, for one that is passed on and not kept. Raises DeadlineExceeded if nothing comes
    for `silence_seconds`, ClientLeft.
    """
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(silence_seconds):
                chunk = await anext(stream, None)
            if chunk is None:
                return
            if chunk:
                yield chunk
    except TimeoutError:
        raise DeadlineExceeded(f"the body stopped for {silence_seconds:g} seconds") from None
    except ClientDisconnect:
        raise ClientLeft("the client left while it sent its request") from None


def _too_large(max_bytes: int) -> BodyTooLarge:
    return BodyTooLarge(f"request body too large: this server takes at most {max_bytes} bytes")


# Upstream's limit (ollama-contract.md, "Reading a request"), and the most memory that a zstd frame may use.
MAX_UNPACKED_BYTES = 20 * 1024 * 1024
_MAX_WINDOW_BYTES = 8 * 1024 * 1024


def decompressed(body: bytes) -> bytes:
    """Decompress zstd, also a truncated frame. Raises InvalidRequest for other bytes, or too many."""
    # Imported here: it takes half a megabyte, and few clients compress.
    import zstandard

    reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).stream_reader(
        BytesIO(body), read_across_frames=True
    )
    try:
        data = reader.read(MAX_UNPACKED_BYTES + 1)
    except zstandard.ZstdError as error:
        raise InvalidRequest(f"the body cannot be unpacked as zstd: {error}") from None
    if len(data) > MAX_UNPACKED_BYTES:
        raise InvalidRequest(
            f"request body too large: unpacked it may have at most {MAX_UNPACKED_BYTES} bytes"
        )
    return data


Wanted = TypeVar("Wanted")
# Larger bodies take milliseconds to parse (malformed ones far longer) and are parsed in a thread.
INLINE_BYTES = 256 * 1024


async def read_json(request: Request, settings: FrontendSettings, read: Callable[[Json], Wanted]) -> Wanted:
    """Parse the body's first JSON value, whatever its Content-Type, with `read`.

    Raises InvalidRequest, BodyTooLarge, DeadlineExceeded, ClientLeft, QueueFull.
    """
    body = await read_body(request, settings.max_body_bytes, settings.body_timeout_seconds)
    return await run_in_thread_if_large(lambda: read(loads(body)), len(body), INLINE_BYTES)


async def read_v1_json(
    request: Request, settings: FrontendSettings, read: Callable[[Json], Wanted]
) -> Wanted:
    """Parse the first JSON value with `read`. The body may be zstd; upstream's error for an empty one is
    "EOF".

    Raises InvalidRequest, BodyTooLarge, DeadlineExceeded, ClientLeft, QueueFull.
    """
    body = await unpacked(
        request, await read_body(request, settings.max_body_bytes, settings.body_timeout_seconds)
    )
    wanted = await run_in_thread_if_large(lambda: read(_parsed(body)), len(body), INLINE_BYTES)
    record_of(request.scope).is_understood = True
    return wanted


async def unpacked(request: Request, body: bytes) -> bytes:
    """The body without its zstd encoding, if it has one. Raises InvalidRequest, QueueFull."""
    if request.headers.get("content-encoding", "").strip().lower() != "zstd":
        return body
    plain = await run_in_thread_if_large(lambda: decompressed(body), MAX_UNPACKED_BYTES, INLINE_BYTES)
    held_body_of(request.scope).grow(len(plain))
    return plain


def _parsed(body: bytes) -> Json:
    if not body.strip():
        raise InvalidRequest("EOF")
    return loads(body)
