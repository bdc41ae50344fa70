"""Unary requests, repeated over keep-alive connections."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools


class Repeated(asyncio.Protocol):
    """Sends `request` again as soon as it has a response."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self.answers = 0
        self.problem = ""

    def stop(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.problem = self.problem or f"the connection was lost: {error or 'closed by the server'}"

    def on_message_complete(self) -> None:
        if (status := self._parser.get_status_code()) != 200:
            self.problem = self.problem or f"status {status}"
        self.answers += 1
        assert self._transport is not None
        self._transport.write(self._request)


async def repeated(address: str, request: bytes, connections: int) -> list[Repeated]:
    """A number of connections that send requests until stopped."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Repeated(request), host, int(port)) for _ in range(connections)
    ]
    return [protocol for _, protocol in made]
