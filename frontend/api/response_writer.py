"""What is sent of a response, and how it is sent without a task switch."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Sequence
from typing import Protocol

from starlette.types import Message, Send

# Proxies and browsers pass each piece on when it comes.
_STREAM_HEADERS = [(b"x-accel-buffering", b"no"), (b"cache-control", b"no-cache")]
_JSON = b"application/json; charset=utf-8"


class StreamFormat(Protocol):
    @property
    def stream_content_type(self) -> bytes: ...

    def heartbeat(self) -> bytes:
        """What a stream may say before the answer begins, and clients make nothing of."""


BodySend = Callable[[Message], Coroutine[object, object, None]]


class ResponseWriter:
    """`headers` go out with those of its kind. `send_body`: of the server itself, for the messages of the
    body; what stands between only changes heads, and would be called for each token.
    """

    __slots__ = ("_send", "_send_body", "_wording", "began", "headers")

    def __init__(self, send: Send, wording: StreamFormat, send_body: BodySend) -> None:
        self._send = send
        self._send_body = send_body
        self._wording = wording
        self.began = False
        self.headers: list[tuple[bytes, bytes]] = []

    async def begin(
        self, content_type: bytes, length: int | None = None, more: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """It may wait for a client that does not read, and be cancelled there: then it has not begun."""
        headers = [(b"content-type", content_type), *self.headers, *more]
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        await self._send({"type": "http.response.start", "status": 200, "headers": headers})
        self.began = True

    async def stream(self, data: bytes) -> None:
        """Begins it, where it has not begun."""
        if not self.began:
            await self.begin(self._wording.stream_content_type, more=_STREAM_HEADERS)
        await self.more(data)

    async def heartbeat(self) -> None:
        await self.stream(self._wording.heartbeat())

    async def more(self, data: bytes) -> None:
        await self._send_body({"type": "http.response.body", "body": data, "more_body": True})

    def more_at_once(self, data: bytes) -> Awaitable[None] | None:
        """What is left of the sending where the client does not keep up."""
        return at_once(self._send_body({"type": "http.response.body", "body": data, "more_body": True}))

    async def end(self, data: bytes) -> None:
        await self._send_body({"type": "http.response.body", "body": data})

    async def whole(self, body: bytes) -> None:
        await self.begin(_JSON, len(body))
        await self.end(body)


def at_once(work: Coroutine[object, object, None]) -> Awaitable[None] | None:
    """Runs it here, up to where it must wait: then the rest of it, for a task to await."""
    try:
        waits_for = work.send(None)
    except StopIteration:
        return None
    return _Rest(work, waits_for)


class _Rest:
    """A coroutine that waits for something, and goes on in the task that awaits this."""

    __slots__ = ("_waits_for", "_work")

    def __init__(self, work: Coroutine[object, object, None], waits_for: object) -> None:
        self._work = work
        self._waits_for = waits_for

    def close(self) -> None:
        """Ends the coroutine where it waits."""
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
                except BaseException as error:  # noqa: BLE001 - cancellation too belongs to the coroutine
                    waits_for = self._work.throw(error)
                else:
                    waits_for = self._work.send(result)
        except StopIteration:
            return
