"""A real server with small limits, and clients for it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from starlette.types import Receive, Scope, Send

from tests.fakes.http_server import WIDE_LIMITS, serving

SECONDS = 30.0
SIZES = {"/large": 8_000_000, "/larger": 9_000_000}


@dataclass
class App:
    """Reads each body and answers with its length.

    `/slow` waits for `go`, `/early` does not read the body, the paths of `SIZES` send a long response at
    once, and `/flood` sends an endless one.
    """

    go: asyncio.Event = field(default_factory=asyncio.Event)
    disconnects: int = 0
    served: list[str] = field(default_factory=list)
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.served.append(scope["path"])
        length = 0
        if scope["path"] != "/early":
            while (message := await receive())["type"] == "http.request":
                length += len(message["body"])
                if not message["more_body"]:
                    break
            else:
                self.disconnects += 1
                return
        self.headers = scope["headers"]
        if scope["path"] == "/slow":
            await self._wait(receive)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] in SIZES:
            await send({"type": "http.response.body", "body": b"x" * SIZES[scope["path"]]})
            return
        if scope["path"] == "/flood":
            while not self.go.is_set():
                await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
                await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b"read %d" % length})

    async def _wait(self, receive: Receive) -> None:
        disconnect = asyncio.create_task(self._wait_for_disconnect(receive))
        go = asyncio.create_task(self.go.wait())
        await asyncio.wait({disconnect, go}, return_when=asyncio.FIRST_COMPLETED)
        disconnect.cancel()
        go.cancel()

    async def _wait_for_disconnect(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self.disconnects += 1


@dataclass
class Client:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def take(self, path: str) -> None:
        """Read a long response. Raises IncompleteReadError or ConnectionResetError if it is cut off."""
        size = SIZES[path]
        await asyncio.wait_for(self.reader.readuntil(b"%x\r\n" % size), SECONDS)
        await asyncio.wait_for(self.reader.readexactly(size), SECONDS)
        await self.reader.readuntil(b"\r\n0\r\n\r\n")

    async def rest(self) -> bytes:
        """Read until the server closes."""
        try:
            return await asyncio.wait_for(self.reader.read(), SECONDS)
        except ConnectionResetError:
            return b""


@dataclass
class Server:
    app: App
    port: int
    clients: list[Client] = field(default_factory=list)
    tls: ssl.SSLContext | None = None

    async def connect(self, source: str = "127.0.0.1", receive_buffer: int = 0) -> Client:
        made = socket.socket()
        made.setblocking(False)
        made.bind((source, 0))
        if receive_buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(made, ("127.0.0.1", self.port))
        names = {"ssl": self.tls, "server_hostname": "localhost"} if self.tls else {}
        client = Client(*await asyncio.open_connection(sock=made, **names))  # type: ignore[arg-type]  # as above
        self.clients.append(client)
        return client

    async def exchange(self, *data: bytes) -> bytes:
        """Send each of `data` on a new connection; return all that comes until the server closes it."""
        client = await self.connect()
        try:
            for each in data:
                client.send(each)
                await client.writer.drain()
        except ConnectionResetError:
            pass
        return await client.rest()


@asynccontextmanager
async def bounded_server(
    proxy: str = "", tls: tuple[Path, Path] | None = None, **limits: float
) -> AsyncIterator[Server]:
    """Run a server. `limits`: fields of ConnectionLimits that replace those of WIDE_LIMITS; `tls`: the
    certificate, which its clients trust, and the key.
    """
    app = App()
    narrow = replace(WIDE_LIMITS, **limits)  # type: ignore[arg-type]  # mypy cannot type counts as int in **
    async with serving(app, tls, limits=narrow, is_proxy=proxy.__eq__) as port:
        trust = ssl.create_default_context(cafile=str(tls[0])) if tls else None
        server = Server(app, port, tls=trust)
        try:
            yield server
        finally:
            app.go.set()
            for client in server.clients:
                client.writer.transport.abort()
