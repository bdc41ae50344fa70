"""A registry, a hub and a proxy in one server that answers as hostile ones might, by the model's name."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_MAX_REQUEST = 1 << 20
_BLOCK = b"x" * 65536


@dataclass
class Exchange:
    """`url`: what was asked for, whole where the server is asked as a proxy; `path`: of it."""

    writer: asyncio.StreamWriter
    url: str
    base: str

    @property
    def path(self) -> str:
        return urlsplit(self.url).path

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes = b"", status: int = 200, *headers: str) -> None:
        lines = [f"HTTP/1.1 {status} x", f"content-length: {len(body)}", *headers]
        await self.send("\r\n".join([*lines, "", ""]).encode() + body)

    async def json(self, document: object) -> None:
        await self.answer(json.dumps(document).encode())

    async def endless(self, status: int = 200, *headers: str) -> None:
        """A body without an end."""
        lines = [f"HTTP/1.1 {status} x", *headers]
        await self.send("\r\n".join([*lines, "", ""]).encode())
        while True:
            await self.send(_BLOCK)

    async def repeat(self, piece: bytes, begin: bytes = b"", pause_seconds: float = 0.0) -> None:
        await self.send(begin)
        while True:
            await self.send(piece)
            await asyncio.sleep(pause_seconds)


Answer = Callable[[Exchange], Awaitable[object]]


@dataclass
class HostileSource:
    """`manifests`, `blobs`: answers by the model's name; `others`: by the path's beginning. `asked`: URLs."""

    manifests: Mapping[str, Answer] = field(default_factory=dict)
    blobs: Mapping[str, Answer] = field(default_factory=dict)
    others: Mapping[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    url: str = ""

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            url = head.split(b" ", 2)[1].decode()
            self.asked.append(url)
            exchange = Exchange(writer, url, self.url)
            await self._answer_of(exchange.path)(exchange)
        writer.close()

    def _answer_of(self, path: str) -> Answer:
        for begin, answer in self.others.items():
            if path.startswith(begin):
                return answer
        # /v2/team/NAME/manifests/latest, /api/models/team/NAME, /team/NAME/resolve/…
        parts = path.split("/")
        if path.startswith("/api/models/"):
            return self.manifests.get(parts[4], _missing)
        if path.startswith("/v2/") and len(parts) > 4:
            return (self.manifests if parts[4] == "manifests" else self.blobs).get(parts[3], _missing)
        return self.blobs.get(parts[2], _missing) if len(parts) > 2 else _missing


async def _missing(exchange: Exchange) -> None:
    await exchange.answer(b"", 404)


@asynccontextmanager
async def serving(source: HostileSource) -> AsyncIterator[HostileSource]:
    running: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            await source._serve(reader, writer)
        except asyncio.CancelledError:
            writer.close()
        finally:
            running.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=_MAX_REQUEST)
    source.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield source
    finally:
        server.close()
        for task in list(running):
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
