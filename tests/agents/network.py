"""The network that an agent sees: the frontend through a recorder, and a proxy that refuses other hosts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import httptools
import orjson

from drover.json_value import Json

_CHUNK = 65536
_REFUSAL = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Sent:
    """One request."""

    path: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Json:
        value: Json = orjson.loads(self.body)
        return value


class _Requests:
    """What httptools' parser calls for the requests of one connection."""

    def __init__(self, all_sent: list[Sent]) -> None:
        self._all = all_sent
        self._open = Sent()
        self._parser = httptools.HttpRequestParser(self)

    def feed(self, data: bytes) -> None:
        """Read data; a handshake, which the frontend refuses, is a request like others."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._parser = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        self._open = Sent()

    def on_url(self, url: bytes) -> None:
        self._open.path += url.decode()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._open.headers[name.decode().lower()] = value.decode()

    def on_body(self, body: bytes) -> None:
        self._open.body += body

    def on_message_complete(self) -> None:
        self._all.append(self._open)


@dataclass
class Recorder:
    """A TCP relay that keeps all requests, and all bytes that were answered."""

    target: str
    url: str = ""
    sent: list[Sent] = field(default_factory=list)
    answered: bytearray = field(default_factory=bytearray)

    def posts(self, route: str) -> list[Sent]:
        return [each for each in self.sent if each.path.partition("?")[0] == route]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.rpartition(":")
        there_reader, there_writer = await asyncio.open_connection(host, int(port))
        requests = _Requests(self.sent)
        try:
            with suppress(ConnectionError):
                await asyncio.gather(
                    _carry(reader, there_writer, requests.feed),
                    _carry(there_reader, writer, self.answered.extend),
                )
        finally:
            writer.transport.abort()
            there_writer.transport.abort()


async def _carry(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, note: Callable[[bytes], object]
) -> None:
    """Until one side closes, which the other is to see at once."""
    while data := await reader.read(_CHUNK):
        note(data)
        writer.write(data)
        await writer.drain()
    raise ConnectionResetError


@dataclass
class Refusal:
    """An HTTP proxy that lets nothing through. `hosts`: which ones were asked for."""

    url: str = ""
    hosts: set[str] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            line = await reader.readline()
            self.hosts.add(line.split(b" ")[1].decode() if line.count(b" ") > 1 else repr(line))
            writer.write(_REFUSAL)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def serving(serve: _Serve) -> AsyncIterator[str]:
    """The URL of a TCP server on the loopback address; its connections end with it."""
    connections: set[asyncio.Task[None]] = set()

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            with suppress(asyncio.CancelledError):
                await serve(reader, writer)
        finally:
            connections.discard(task)

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in [*connections]:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
