"""Answers of sources that must be short."""

from __future__ import annotations

import aiohttp

from drover.errors import SourceFailed
from engine_worker.host.sources.redirects import host_of

BLOCK_BYTES = 1 << 20


async def bounded_body(answer: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Raises SourceFailed if it is longer, and what aiohttp raises."""
    body = bytearray()
    async for block in answer.content.iter_chunked(BLOCK_BYTES):
        body += block
        if len(body) > max_bytes:
            raise SourceFailed(f"{host_of(str(answer.url))}: its answer is longer than {max_bytes} bytes")
    return bytes(body)
