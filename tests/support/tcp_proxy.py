"""A TCP proxy that can be cut, restored and slowed down, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

_CHUNK = 65536
_WINDOW_PIECES = 256
_START_SECONDS = 5.0


@dataclass
class Proxy:
    """`cut`: nothing goes through in either direction, and nothing is said of it, as with a firewall that
    drops packets. `delay_seconds`: how long each piece is under way.
    """

    target: str
    delay_seconds: float = 0.0
    address: str = ""
    _open: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._open.set()

    def cut(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        self._open.set()

    async def _serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        server = await asyncio.start_server(self._accepted, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{port}"
        ready.set()
        async with server:
            await stop.wait()

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, _, port = self.target.rpartition(":")
        try:
            there_reader, there_writer = await asyncio.open_connection(host, int(port))
        except OSError:
            writer.close()
            return
        try:
            await asyncio.gather(self._carry(reader, there_writer), self._carry(there_reader, writer))
        except asyncio.CancelledError:
            # The end of the test; streams would tell of a cancelled handler.
            return
        finally:
            writer.transport.abort()
            there_writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """As many pieces are under way as come within the delay, up to a window."""
        pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_WINDOW_PIECES)
        with suppress(ConnectionError):
            await asyncio.gather(self._take(reader, pieces), self._deliver(pieces, writer))
        writer.close()

    async def _take(self, reader: asyncio.StreamReader, pieces: asyncio.Queue[tuple[float, bytes]]) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await pieces.put((self._due(), data))
        finally:
            # Also where the line broke: the other side hears of it when it is its turn.
            await pieces.put((self._due(), b""))

    async def _deliver(
        self, pieces: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await pieces.get()
            while not self._open.is_set():  # noqa: ASYNC110 - the event is another thread's
                await asyncio.sleep(0.02)
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not data:
                return
            writer.write(data)
            await writer.drain()

    def _due(self) -> float:
        return time.monotonic() + self.delay_seconds


@contextmanager
def proxy(target: str, delay_seconds: float = 0.0) -> Iterator[Proxy]:
    line = Proxy(target, delay_seconds)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    def run() -> None:
        asyncio.set_event_loop(loop)
        loop.run_until_complete(line._serve(ready, stop))
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        # Transports say goodbye in the loop's next turn.
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=run, name=f"proxy to {target}", daemon=True)
    thread.start()
    assert ready.wait(_START_SECONDS)
    try:
        yield line
    finally:
        line.heal()
        loop.call_soon_threadsafe(stop.set)
        thread.join(_START_SECONDS)
