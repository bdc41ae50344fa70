"""A blob that a client uploads: its digest, then its bytes, checked before it is listed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from drover.errors import DroverError, InvalidRequest
from drover.v1 import host_pb2
from engine_worker.host.store.blobs import PartialBlob
from engine_worker.host.store.store import Store

_MAX_PART_BYTES = 1024 * 1024
_MAX_DISCARDED_BYTES = 64 * 1024 * 1024
_DISCARD_SECONDS = 30.0
# Frontends give up a client that is silent for less.
_SILENCE_SECONDS = 360.0


async def receive_blob(store: Store, parts: AsyncIterator[host_pb2.BlobPart]) -> bool:
    """True if the store had it already. Raises InvalidRequest, StoreUnavailable.

    What is still on its way is read first, up to a bound: gRPC tells a client that is cut off while it sends
    that the call broke, and not why.
    """
    try:
        return await _receive(store, _timely(parts))
    except DroverError:
        with suppress(TimeoutError):
            async with asyncio.timeout(_DISCARD_SECONDS):
                await _discard_rest(parts)
        raise


async def _discard_rest(parts: AsyncIterator[host_pb2.BlobPart]) -> None:
    discarded = 0
    async for part in parts:
        discarded += len(part.data)
        if discarded > _MAX_DISCARDED_BYTES:
            return


async def _timely(parts: AsyncIterator[host_pb2.BlobPart]) -> AsyncIterator[host_pb2.BlobPart]:
    """Raises InvalidRequest if nothing comes for long."""
    while True:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                part = await anext(parts)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise InvalidRequest(f"nothing of the blob came for {_SILENCE_SECONDS:.0f} s") from None
        yield part


async def _receive(store: Store, parts: AsyncIterator[host_pb2.BlobPart]) -> bool:
    header = await anext(parts, None)
    if header is None or header.WhichOneof("part") != "digest":
        raise InvalidRequest("the first part of a blob is its digest")
    if await asyncio.to_thread(_has, store, header.digest):
        return True
    partial = await _begun(store, header.digest)
    try:
        async for part in parts:
            if not 0 < len(part.data) <= _MAX_PART_BYTES:
                raise InvalidRequest(f"a part of a blob has 1 to {_MAX_PART_BYTES} bytes")
            await asyncio.to_thread(partial.write, part.data)
        await asyncio.to_thread(partial.commit)
    except BaseException:
        partial.discard()
        raise
    return False


def _has(store: Store, digest: str) -> bool:
    """Whether its file is there and is what the digest says, which takes no longer than an upload."""
    return store.blobs.find(digest) is not None and not store.blobs.remove_damaged([digest])


async def _begun(store: Store, digest: str) -> PartialBlob:
    opening = asyncio.create_task(asyncio.to_thread(store.blobs.begin_unknown, digest), name="begin a blob")
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        # Its thread makes the file all the same.
        opening.add_done_callback(_discard)
        raise


def _discard(opening: asyncio.Task[PartialBlob]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().discard()
