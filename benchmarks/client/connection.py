"""One keep-alive HTTP connection that reads streamed responses, one at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Protocol, cast

import httptools
import orjson


def request_bytes(address: str, path: str, body: Mapping[str, object]) -> bytes:
    content = orjson.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(content)}\r\n\r\n".encode() + content


class Body(Protocol):
    """Takes the body of a response as it arrives. `messages`: HTTP chunks with text."""

    problem: str
    messages: int

    def read(self, body: bytes, at: float) -> bool:
        """Part of the body that came at that time; whether it completes a line with text."""

    def end(self) -> None:
        """Take the end of the body."""


class Connection(asyncio.Protocol):
    """Hands the socket's bytes to the body at once: no task is woken while a response arrives."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Body | None = None
        self._ended: asyncio.Future[None] | None = None
        self._failure = b""
        self._at = 0.0
        self._has_text = False

    def ask(self, request: bytes, answer: Body) -> asyncio.Future[None]:
        """Return when the response has ended or failed; `answer.problem` has the reason."""
        assert self._transport is not None
        self._answer = answer
        self._failure = b""
        self._ended = asyncio.get_running_loop().create_future()
        if self._transport.is_closing():
            self._end("the connection is closed")
        else:
            self._transport.write(request)
        return self._ended

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    @property
    def is_closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._at = time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(f"not HTTP: {error!r}")
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(f"the connection was lost: {error or 'closed by the server'}")

    # Callbacks of httptools.

    def on_chunk_header(self) -> None:
        self._has_text = False

    def on_body(self, body: bytes) -> None:
        if self._parser.get_status_code() != 200:
            self._failure += body
        elif self._answer is not None and self._answer.read(body, self._at):
            self._has_text = True

    def on_chunk_complete(self) -> None:
        if self._has_text and self._answer is not None:
            self._answer.messages += 1

    def on_message_complete(self) -> None:
        if (status := self._parser.get_status_code()) != 200:
            self._end(f"status {status}: {self._failure[:500].decode(errors='replace')}")
        elif self._answer is not None:
            self._answer.end()
            self._end("")
        if not self._parser.should_keep_alive():
            self.close()

    def _end(self, problem: str) -> None:
        answer, self._answer = self._answer, None
        if answer is not None and problem:
            answer.problem = answer.problem or problem
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


async def connect(address: str, tls: bool = False) -> Connection:
    """Raises OSError."""
    host, _, port = address.rpartition(":")
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(Connection, host.strip("[]"), int(port), ssl=tls or None)
    return connection
