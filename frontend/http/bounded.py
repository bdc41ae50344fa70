"""Uvicorn's HTTP/1.1 connections, with bounds: on their number, on header bytes, and on silence.

Uvicorn itself bounds only how long a connection may be idle after an answer. What begins a request and never
ends it, or asks and does not read, would stay for ever.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from frontend.http.connection_table import ConnectionTable
from frontend.http.framing import Framing
from frontend.http.limits import ConnectionLimits
from frontend.http.protocol import HttpProtocol
from frontend.http.refused import RefusedRequest
from frontend.http.write_watch import WriteWatch

# Requests that a client may send before it has the answer to the first one.
_MOST_PIPELINED = 32
_TOO_MANY_PIPELINED = RefusedRequest(
    400, f"400 Bad Request: more than {_MOST_PIPELINED} requests before the answer to the first"
)
_TOO_MANY_CONNECTIONS = RefusedRequest(
    503, "503 Service Unavailable: too many connections are open; try again later"
)
# After a refusal; as many as Go's server.
_MOST_DISCARDED = 256 * 1024
_RESET = struct.pack("ii", 1, 0)


class BoundedHttp(HttpProtocol):
    """Closes a connection whose header is not complete in time, which also covers the rest of a body whose
    answer has been given; and one whose client takes nothing of its answer.
    """

    def __init__(
        self,
        limits: ConnectionLimits,
        table: ConnectionTable,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._table = table
        self._framing = Framing(limits.header_bytes)
        self._header_timer: asyncio.TimerHandle | None = None
        self._writes: WriteWatch | None = None
        self._discarded = 0
        self.address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._writes = WriteWatch(transport, self.loop, self._limits.write_seconds, self.drop)
        if self._table.admit(self):
            self._expect_header()
        else:
            self._say(_TOO_MANY_CONNECTIONS)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.remove(self)
        self._header_came()
        if self._writes is not None:
            self._writes.end()
        # Of several requests on one connection uvicorn tells only the newest that its client has left.
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True
            self._active.message_event.set()
        super().connection_lost(exc)
        # Uvicorn does so only where the client closed, not where it reset: its timer would hold the
        # connection and the last request for two minutes.
        self._unset_keepalive_if_required()

    @property
    def is_drained(self) -> bool:
        """The client has all that was written."""
        return self._writes is None or not self._writes.outstanding()

    def give_way(self) -> None:
        self.transport.close()

    def drop(self) -> None:
        """At once: without SO_LINGER the kernel would keep for minutes what the client does not take."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None and connection.fileno() >= 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            self._discard(len(data))
            return
        was_idle = self._idle
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        # Where it has the end of another request too, it is not known how much is of the new one.
        is_of_one = not self._begun or (was_idle and self._begun == 1)
        try:
            if is_of_one:
                self._framing.saw_read(len(data))
        except RefusedRequest as refusal:
            self._refuse(refusal)
            return
        if not self._is_serving:
            self._expect_header()

    def on_message_begin(self) -> None:
        self._framing.begins()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._saw_field(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._saw_field(len(name) + len(value))
        if self._framing.in_header:
            super().on_header(name, value)
        # A trailer is no part of the header, which the application has had already.

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= _MOST_PIPELINED:
            self._stop(_TOO_MANY_PIPELINED)
        super().on_headers_complete()
        self._framing.header_ends()
        self._header_came()
        self._table.is_busy(self)

    def on_body(self, body: bytes) -> None:
        try:
            self._framing.saw_piece(len(body))
        except RefusedRequest as refusal:
            self._stop(refusal)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._framing.ends()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_writes()
        if self.transport.is_closing():
            return
        if self.pipeline:
            # Uvicorn reads on after each answer, so that more requests could come in than are answered.
            self.flow.pause_reading()
        elif not self._is_serving:
            self._table.is_idle(self)
            if self._framing.in_header or self._framing.in_body:
                self._expect_header()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writes()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writes is not None and self._is_serving:
            self._writes.end()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        super()._start_asgi_task(cycle, app)
        # More will be written than what is being watched, unless that must be taken first.
        if self._writes is not None and not self.flow.write_paused:
            self._writes.end()

    @property
    def _is_serving(self) -> bool:
        return self._active is not None and not self._active.response_complete

    def _saw_field(self, length: int) -> None:
        try:
            self._framing.saw_field(length)
        except RefusedRequest as refusal:
            self._stop(refusal)

    def _say(self, refusal: RefusedRequest) -> None:
        self._refused = True
        super()._say(refusal)
        self._watch_writes()

    def _discard(self, length: int) -> None:
        """So that a client that has not sent all yet reads the answer; not for ever."""
        self._discarded += length
        if self._discarded > _MOST_DISCARDED:
            self.flow.pause_reading()

    def _watch_writes(self) -> None:
        """What has been written may never be taken."""
        if self._writes is not None and self.transport.get_write_buffer_size():
            self._writes.begin()

    def _expect_header(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self._limits.header_seconds, self._header_is_late)

    def _header_came(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_is_late(self) -> None:
        """Of a connection that has sent nothing, or the rest of a body, there is nothing to say."""
        self._header_timer = None
        if self._framing.in_header and not self.transport.is_closing():
            seconds = self._limits.header_seconds
            self._say(RefusedRequest(408, f"408 Request Timeout: no whole header within {seconds:g} seconds"))
        elif self._framing.in_body or self.transport.get_write_buffer_size():
            self.drop()
        else:
            self.transport.close()
