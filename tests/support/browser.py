"""An HTTP client with control over its connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from tests.support.processes import Stack


class Browser:
    """A raw connection: closing it is all the server hears of us leaving."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def chat(self, model: str, content: str, stream: bool, num_predict: int = 4000) -> None:
        await self.post(
            "/api/chat",
            {
                "model": model,
                "stream": stream,
                "messages": [{"role": "user", "content": content}],
                "options": {"num_predict": num_predict, "temperature": 0},
            },
        )

    async def post(self, path: str, document: Mapping[str, object]) -> None:
        body = json.dumps(document).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
        self._writer.write(head.encode() + body)
        await self._writer.drain()

    def leave(self) -> None:
        self._writer.transport.abort()


@asynccontextmanager
async def browser(running: Stack) -> AsyncIterator[Browser]:
    async with browser_at(running.frontend.address) as client:
        yield client


@asynccontextmanager
async def browser_at(address: str) -> AsyncIterator[Browser]:
    """`address`: of a frontend."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Browser(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()
