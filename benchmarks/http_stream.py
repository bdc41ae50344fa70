"""Cheap HTTP/1.1 for benchmarks: keep-alive connections and the part of the protocol that Ollama's streams
use.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType

import orjson


def post(address: str, path: str, body: Mapping[str, object], key: str = "") -> bytes:
    """A request's bytes. `key`: the client's API key."""
    content = orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n"
    if key:
        head += f"authorization: Bearer {key}\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


class Refused(Exception):
    """The server's response was not a stream."""


class Connection:
    """One keep-alive connection with one request at a time. Has no timeouts: the caller sets them."""

    def __init__(self, address: str, key: str = "") -> None:
        self._address = address
        self._key = key

    async def __aenter__(self) -> Connection:
        host, _, port = self._address.rpartition(":")
        self._reader, self._writer = await asyncio.open_connection(host, int(port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    async def chunks(self, path: str, body: Mapping[str, object]) -> AsyncIterator[bytes]:
        """Yield the chunks of a streamed response. Raises Refused."""
        self._writer.write(post(self._address, path, body, self._key))
        head = await self._reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200") or b"chunked" not in head.lower():
            rest = await asyncio.wait_for(self._reader.read(4096), 1)
            raise Refused((head + rest).decode(errors="replace"))
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            chunk = await self._reader.readexactly(size + 2)
            yield chunk[:-2]
        await self._reader.readexactly(2)
