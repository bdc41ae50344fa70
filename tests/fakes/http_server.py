"""A real HTTP server in the test's own event loop, and a client that can be rude."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from drover.tls.files import TlsFiles
from drover.tls.reload import Reloaded
from frontend.http.bounded import BoundedHttp
from frontend.http.connection_table import ConnectionTable
from frontend.http.limits import ConnectionLimits
from frontend.http.tls import TlsServer, server_context
from tests.support.waiting import until

_DEADLINE_SECONDS = 30.0
WIDE_LIMITS = ConnectionLimits(
    max_connections=1000,
    max_per_address=1000,
    header_bytes=65536,
    header_seconds=30.0,
    write_seconds=120.0,
)


@asynccontextmanager
async def serving(
    app: ASGIApp,
    tls: tuple[Path, Path] | None = None,
    limits: ConnectionLimits = WIDE_LIMITS,
    is_proxy: Callable[[str], bool] = lambda address: False,
) -> AsyncIterator[int]:
    """The port. The protocol is the one that the frontend uses in production; `tls`: certificate and key."""
    table = ConnectionTable(limits.max_connections, limits.max_per_address, is_proxy)
    http: Callable[..., asyncio.Protocol] = partial(BoundedHttp, limits, table)
    if tls is not None:
        http = TlsServer(Reloaded(TlsFiles(*tls), "server", server_context, "https"), http)
    config = uvicorn.Config(
        app,
        http=cast("type[asyncio.Protocol]", http),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        task = asyncio.create_task(server.serve(sockets=[listener]), name="http server")
        try:
            await until(lambda: server.started or task.done(), _DEADLINE_SECONDS, "the server starts")
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, _DEADLINE_SECONDS)


@dataclass
class RawClient:
    """One connection with one request on it; it disconnects at any point that a test chooses."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def post(cls, port: int, path: str, body: object, receive_buffer: int = 0) -> RawClient:
        client = socket.socket()
        client.setblocking(False)
        if receive_buffer:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(client, ("127.0.0.1", port))
        reader, writer = await asyncio.open_connection(sock=client, limit=max(receive_buffer, 2**16))
        data = json.dumps(body).encode()
        writer.write(b"POST %b HTTP/1.1\r\nhost: localhost\r\n" % path.encode())
        writer.write(b"content-length: %d\r\n\r\n%b" % (len(data), data))
        await writer.drain()
        return cls(reader, writer)

    async def read_until(self, text: bytes) -> bytes:
        return await asyncio.wait_for(self.reader.readuntil(text), _DEADLINE_SECONDS)

    def stop_reading(self) -> None:
        self.writer.transport.pause_reading()  # type: ignore[attr-defined]  # the declared type cannot pause

    def leave(self) -> None:
        """Closes the connection, whatever may still be on its way."""
        self.writer.transport.abort()
