"""A request to an Ollama host. A task reads its stream; cancelling it closes the connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing

import httpx
import orjson

from drover.errors import ClientLeft, DroverError, EngineFailed, WorkerUnreachable
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import EventSink
from frontend.routing.backends.delivery import deliver_to
from frontend.routing.backends.ollama.body import Body
from frontend.routing.backends.ollama.events import Events, read_line
from frontend.routing.backends.ollama.failures import boundary, refusal

_log = logging.getLogger("drover.fleet")
_MAX_LINE_BYTES = 16 * 1024 * 1024
_MAX_REFUSAL_BYTES = 64 * 1024
# A consumer that is this many messages behind pauses the reading, and so the host: backpressure.
_MAX_READY = 64

Spawn = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]
Item = pb.GenerateEvent | DroverError


class HostCall:
    """Implements WorkerHandle. `spawn`: starts the reading task and keeps a reference to it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        route: str,
        body: Body,
        headers: dict[str, str],
        events: Events,
        spawn: Spawn,
    ) -> None:
        self._client = client
        self._route = route
        self._body = body
        self._headers = headers
        self._events = events
        self._ready: asyncio.Queue[Item] = asyncio.Queue(_MAX_READY)
        self._abandoned: asyncio.Future[Item] = asyncio.get_running_loop().create_future()
        self._reader = spawn(self._read())

    async def deliver(self, sink: EventSink) -> None:
        await deliver_to(self._received(), sink)

    async def _received(self) -> AsyncGenerator[pb.GenerateEvent, None]:
        while True:
            item = await self._next()
            if isinstance(item, DroverError):
                raise item
            yield item
            if item.HasField("done"):
                return

    def abandon(self, error: DroverError) -> None:
        if not self._abandoned.done():
            self._abandoned.set_result(error)
        self._reader.cancel()

    def cancel(self) -> None:
        self.abandon(ClientLeft("request canceled"))

    async def _next(self) -> Item:
        if self._ready.empty():
            getting = asyncio.create_task(self._ready.get())
            try:
                await asyncio.wait([getting, self._abandoned], return_when=asyncio.FIRST_COMPLETED)
                return self._abandoned.result() if self._abandoned.done() else getting.result()
            finally:
                getting.cancel()
        return self._abandoned.result() if self._abandoned.done() else self._ready.get_nowait()

    async def _read(self) -> None:
        try:
            with boundary():
                await self._stream()
            failure: DroverError = WorkerUnreachable("the Ollama host closed the stream early")
        except DroverError as error:
            failure = error
        except asyncio.CancelledError:
            self.abandon(WorkerUnreachable("the connection to the Ollama host was closed"))
            raise
        except Exception as error:  # noqa: BLE001 - the consumer must get an error
            _log.error("reading from an Ollama host failed", exc_info=error)
            failure = EngineFailed(f"the Ollama host's response cannot be read: {type(error).__name__}")
        await self._ready.put(failure)

    async def _stream(self) -> None:
        async with self._client.stream(
            "POST", self._route, content=orjson.dumps(self._body), headers=self._headers
        ) as response:
            if response.status_code != 200:
                raise refusal(response.status_code, await _beginning(response))
            async with aclosing(lines_of(response.aiter_bytes(), _MAX_LINE_BYTES)) as pieces:
                async for lines in pieces:
                    for line in lines:
                        await self._ready.put(self._events.event(read_line(line)))


async def _beginning(response: httpx.Response) -> bytes:
    """The beginning of an error body, which may have any length."""
    body = b""
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > _MAX_REFUSAL_BYTES:
            break
    return body[:_MAX_REFUSAL_BYTES]


async def lines_of(chunks: AsyncIterator[bytes], max_bytes: int) -> AsyncGenerator[list[bytes], None]:
    """Yield the non-empty lines that each chunk completes. Raises EngineFailed for one that is too long."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n") if b"\n" in chunk else (rest + chunk,)
        if len(rest) > max_bytes or any(len(line) > max_bytes for line in whole):
            raise EngineFailed(f"a line of the Ollama host is longer than {max_bytes} bytes")
        if lines := [line for line in whole if line.strip()]:
            yield lines
    if rest.strip():
        yield [rest]
