"""Writing a response to the ASGI server, without a task switch per token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Protocol

from starlette.types import Message, Send

# Proxies and browsers pass each piece on as it comes.
_STREAM_HEADERS = [(b"x-accel-buffering", b"no"), (b"cache-control", b"no-cache")]
_JSON = b"application/json; charset=utf-8"


class StreamFormat(Protocol):
    """How a protocol frames a stream."""

    @property
    def stream_content_type(self) -> bytes: ...

    def heartbeat(self) -> bytes:
        """A frame that clients ignore, sent before the answer begins."""


BodySend = Callable[[Message], Coroutine[object, object, None]]


class ResponseWriter:
    """Writes one response. `headers`: those to add when it begins. `send_body`: the server's own `send`, for
    body messages, since middlewares change only headers and would be called for each token.
    """

    __slots__ = ("_format", "_send", "_send_body", "began", "headers")

    def __init__(self, send: Send, stream_format: StreamFormat, send_body: BodySend) -> None:
        self._send = send
        self._send_body = send_body
        self._format = stream_format
        self.began = False
        self.headers: list[tuple[bytes, bytes]] = []

    async def begin(
        self, content_type: bytes, length: int | None = None, more: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """Send the headers. Cancelled while it waits for a client that does not read, it has not begun."""
        headers = [(b"content-type", content_type), *self.headers, *more]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self.began = True

    async def stream(self, data: bytes) -> None:
        """Send a part of the stream, and the headers before the first one."""
        if not self.began:
            await self.begin(self._format.stream_content_type, more=_STREAM_HEADERS)
        await self._send_body({"type": "http.response.body", "body": data, "more_body": True})

    async def heartbeat(self) -> None:
        await self.stream(self._format.heartbeat())

    def write_now(self, data: bytes) -> Awaitable[None] | None:
        """Send a part of a stream that has begun. The result, if any, is to be awaited: the client does not
        keep up.
        """
        return run_until_blocked(
            self._send_body({"type": "http.response.body", "body": data, "more_body": True})
        )

    async def end(self, data: bytes) -> None:
        await self._send_body({"type": "http.response.body", "body": data})

    async def whole(self, body: bytes) -> None:
        """Send a JSON response that is not streamed."""
        await self.begin(_JSON, len(body))
        await self.end(body)


def run_until_blocked(work: Coroutine[object, object, None]) -> Awaitable[None] | None:
    """Run a coroutine up to its first wait. Returns what is left of it, for a task to await."""
    try:
        waits_for = work.send(None)
    except StopIteration:
        return None
    return _Rest(work, waits_for)


class _Rest:
    """A suspended coroutine, which resumes in the task that awaits this."""

    __slots__ = ("_waits_for", "_work")

    def __init__(self, work: Coroutine[object, object, None], waits_for: object) -> None:
        self._work = work
        self._waits_for = waits_for

    def close(self) -> None:
        """Close the coroutine where it is suspended."""
        self._work.close()

    def __await__(self) -> Generator[object, object, None]:
        waits_for = self._waits_for
        try:
            while True:
                try:
                    result = yield waits_for
                except GeneratorExit:
                    self._work.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - the coroutine handles cancellation too
                    waits_for = self._work.throw(error)
                else:
                    waits_for = self._work.send(result)
        except StopIteration:
            return
