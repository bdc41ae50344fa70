"""One request at an Ollama host: a task reads its stream, and ends the connection when it is cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
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
from frontend.routing.backends.ollama.lines import lines_of

_log = logging.getLogger("drover.fleet")
_MOST_LINE_BYTES = 16 * 1024 * 1024
_MOST_REFUSAL_BYTES = 64 * 1024
# A reader that is this many messages behind stops the reading, and so the host.
_MOST_READY = 64

Keep = Callable[[Coroutine[object, object, None]], asyncio.Task[None]]
Item = pb.GenerateEvent | DroverError


class HostCall:
    """Implements WorkerHandle. `keep`: starts the task that reads, and holds it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        route: str,
        body: Body,
        headers: dict[str, str],
        events: Events,
        keep: Keep,
    ) -> None:
        self._client = client
        self._route = route
        self._body = body
        self._headers = headers
        self._events = events
        self._ready: asyncio.Queue[Item] = asyncio.Queue(_MOST_READY)
        self._given_up: asyncio.Future[Item] = asyncio.get_running_loop().create_future()
        self._reader = keep(self._read())

    async def deliver(self, take: EventSink) -> None:
        await deliver_to(self._arrived(), take)

    async def _arrived(self) -> AsyncGenerator[pb.GenerateEvent, None]:
        while True:
            item = await self._next()
            if isinstance(item, DroverError):
                raise item
            yield item
            if item.HasField("done"):
                return

    def abandon(self, error: DroverError) -> None:
        if not self._given_up.done():
            self._given_up.set_result(error)
        self._reader.cancel()

    def cancel(self) -> None:
        self.abandon(ClientLeft("request canceled"))

    async def _next(self) -> Item:
        if self._ready.empty():
            getting = asyncio.create_task(self._ready.get())
            try:
                await asyncio.wait([getting, self._given_up], return_when=asyncio.FIRST_COMPLETED)
                return self._given_up.result() if self._given_up.done() else getting.result()
            finally:
                getting.cancel()
        return self._given_up.result() if self._given_up.done() else self._ready.get_nowait()

    async def _read(self) -> None:
        try:
            with boundary():
                await self._stream()
            failure: DroverError = WorkerUnreachable("the Ollama host broke the answer off")
        except DroverError as error:
            failure = error
        except asyncio.CancelledError:
            self.abandon(WorkerUnreachable("the connection to the Ollama host was closed"))
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits for the answer must hear of it
            _log.error("reading from an Ollama host failed", exc_info=error)
            failure = EngineFailed(f"the Ollama host's answer cannot be read: {type(error).__name__}")
        await self._ready.put(failure)

    async def _stream(self) -> None:
        async with self._client.stream(
            "POST", self._route, content=orjson.dumps(self._body), headers=self._headers
        ) as response:
            if response.status_code != 200:
                raise refusal(response.status_code, await _beginning(response))
            async with aclosing(lines_of(response.aiter_bytes(), _MOST_LINE_BYTES)) as pieces:
                async for lines in pieces:
                    for line in lines:
                        await self._ready.put(self._events.event(read_line(line)))


async def _beginning(response: httpx.Response) -> bytes:
    """Of a refusal, as much as may be of use."""
    said = b""
    async for chunk in response.aiter_bytes():
        said += chunk
        if len(said) > _MOST_REFUSAL_BYTES:
            break
    return said[:_MOST_REFUSAL_BYTES]
