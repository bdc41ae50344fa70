"""Hostile connections: raw bytes, slow or endless writes, no reads."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

ATTACKER = "127.0.0.66"
CHAT = {"model": "sim", "messages": [{"role": "user", "content": "x"}]}
_SECONDS = 30.0
_AT_A_TIME = 64


@dataclass
class Rude:
    """`socket`: non-blocking."""

    socket: socket.socket

    @classmethod
    async def connect(cls, port: int, source: str = ATTACKER, receive_buffer: int = 0) -> Rude:
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        connection.bind((source, 0))
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        except OSError:
            connection.close()
            raise
        return cls(connection)

    async def send(self, data: bytes) -> bool:
        """Whether the server takes it; as long as it does."""
        try:
            async with asyncio.timeout(_SECONDS):
                await asyncio.get_running_loop().sock_sendall(self.socket, data)
        except (OSError, TimeoutError):
            return False
        return True

    async def answer(self, until: bytes = b"\0 never") -> bytes:
        """Up to some text, or until the server closes."""
        data = b""
        try:
            async with asyncio.timeout(_SECONDS):
                while until not in data:
                    piece = await asyncio.get_running_loop().sock_recv(self.socket, 65536)
                    if not piece:
                        break
                    data += piece
        except OSError:
            pass
        return data

    @property
    def is_closed(self) -> bool:
        """By the server; its last bytes may not have been read."""
        state: int = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
        return state != 1

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        self.socket.close()


@asynccontextmanager
async def connections(
    port: int, count: int, source: str = ATTACKER, receive_buffer: int = 0
) -> AsyncIterator[list[Rude]]:
    made: list[Rude] = []
    try:
        for _ in range(count):
            made.append(await Rude.connect(port, source, receive_buffer))
        yield made
    finally:
        for each in made:
            each.close()


def request(
    path: str, data: bytes, *headers: bytes, length: int | None = None, method: bytes = b"POST"
) -> bytes:
    """`length`: what is announced, where it is not the truth."""
    lines = [
        b"%b %b HTTP/1.1" % (method, path.encode()),
        b"host: localhost",
        b"content-length: %d" % (len(data) if length is None else length),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + data


def chat(tokens: int = 8, stream: bool = True, path: str = "/api/chat", **more: object) -> bytes:
    body = {**CHAT, "stream": stream, "options": {"num_predict": tokens, "temperature": 0}, **more}
    return request(path, json.dumps(body).encode())


async def for_seconds(seconds: float, step: Callable[[], Coroutine[object, object, None]]) -> int:
    """How often."""
    deadline = time.monotonic() + seconds
    count = 0
    while time.monotonic() < deadline:
        await step()
        count += 1
    return count


async def some_at_a_time(work: Sequence[Coroutine[object, object, bool]], most: int = _AT_A_TIME) -> int:
    """How many were true."""
    room = asyncio.Semaphore(most)

    async def one(each: Coroutine[object, object, bool]) -> bool:
        async with room:
            return await each

    return sum(await asyncio.gather(*map(one, work)))
