"""Uvicorn's HTTP/1.1 connections with limits on their number, their header bytes and their idle time.

Uvicorn itself limits only how long a connection may be idle after a response. A client that never completes a
request, or does not read its response, would hold a connection for ever.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import sys
import termios
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from frontend.http.connection_table import ConnectionTable
from frontend.http.limits import ConnectionLimits, RefusedRequest, RequestMeter
from frontend.http.protocol import HttpProtocol
from frontend.http.write_watch import WriteWatch

# Requests that a client may send before it has the response to the first one.
_MAX_PIPELINED = 32
_TOO_MANY_PIPELINED = RefusedRequest(
    400, f"400 Bad Request: more than {_MAX_PIPELINED} requests before the answer to the first"
)
_TOO_MANY_CONNECTIONS = RefusedRequest(
    503, "503 Service Unavailable: too many connections are open; try again later"
)
# Bytes read and dropped after a refusal; as many as Go's server.
_MAX_DISCARDED_BYTES = 256 * 1024
_RESET = struct.pack("ii", 1, 0)
# How long a connection waits for a last request after a response, while the server shuts down.
_LAST_REQUEST_SECONDS = 1


class BoundedHttp(HttpProtocol):
    """Closes a connection whose header is late, and one whose client takes nothing of its response.

    The header's timeout also covers the rest of a body whose response has been sent.
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
        self._meter = RequestMeter(limits.header_bytes)
        self._header_timer: asyncio.TimerHandle | None = None
        self._writes: WriteWatch | None = None
        self._discarded = 0
        # True: its keep-alive timer closes the connection.
        self._is_draining = False
        self.address = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP: a Transport always
        super().connection_made(transport)
        self.address = self.client[0] if self.client else ""
        self._writes = WriteWatch(transport, self.loop, self._limits.write_seconds, self.reset)
        if self._table.admit(self):
            self._start_header_timer()
        else:
            self._write_refusal(_TOO_MANY_CONNECTIONS)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._table.remove(self)
        self._stop_header_timer()
        if self._writes is not None:
            self._writes.stop()
        # With several requests on one connection, uvicorn reports the disconnect to the newest only.
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True
            self._active.message_event.set()
        super().connection_lost(exc)
        # Uvicorn does so only where the client closed, not where it reset: its timer would hold the
        # connection and the last request for two minutes.
        self._unset_keepalive_if_required()

    @property
    def can_close(self) -> bool:
        """Whether closing loses nothing: the client has acknowledged all that was written, and nothing of its
        waits to be read. A header that does not come to its end must not keep others out.
        """
        is_drained = self._writes is None or not self._writes.outstanding_bytes()
        return is_drained and not _unread_bytes(self.transport)

    def drain(self) -> None:
        """Let the running response announce that the connection closes. Where it has begun, its client may
        send the next request at once, so the connection stays open a little longer.
        """
        if self._is_serving and self._active is not None and self._active.response_started:
            self._is_draining = True
            self.timeout_keep_alive = _LAST_REQUEST_SECONDS
        elif self._is_serving:
            super().shutdown()

    def shutdown(self) -> None:
        """Close at the end of a server, but not under a request that arrives."""
        if self._is_serving:
            self.drain()
        elif self._request_arrives:
            self.loop.call_later(_LAST_REQUEST_SECONDS, self._close_unless_serving)
        elif not self._is_draining:
            super().shutdown()

    def _close_unless_serving(self) -> None:
        if not self._is_serving:
            self.transport.close()

    def timeout_keep_alive_handler(self) -> None:
        if not self._request_arrives:
            super().timeout_keep_alive_handler()

    def close_idle(self) -> None:
        self.transport.close()

    def reset(self) -> None:
        """Close at once: without SO_LINGER the kernel keeps unread data for minutes."""
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
        # With the end of another request in `data`, how much of it is the new one's is unknown.
        is_one_request = not self._begun or (was_idle and self._begun == 1)
        try:
            if is_one_request:
                self._meter.add_read(len(data))
        except RefusedRequest as refusal:
            self._refuse(refusal)
            return
        if not self._is_serving:
            self._start_header_timer()

    def on_message_begin(self) -> None:
        self._meter.begin()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._add_field(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._add_field(len(name) + len(value))
        # The application has the header already when a trailer comes: trailers are only counted.
        if self._meter.in_header:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._abort_parsing(_TOO_MANY_PIPELINED)
        super().on_headers_complete()
        self._meter.end_header()
        self._stop_header_timer()
        self._table.mark_busy(self)

    def on_body(self, body: bytes) -> None:
        try:
            self._meter.add_body(len(body))
        except RefusedRequest as refusal:
            self._abort_parsing(refusal)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._meter.end()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_writes()
        if self.transport.is_closing():
            return
        if self.pipeline:
            # Uvicorn resumes reading after each response: requests would come in faster than they are served.
            self.flow.pause_reading()
        elif not self._is_serving:
            self._table.mark_idle(self)
            if self._meter.in_header or self._meter.in_body:
                self._start_header_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_writes()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writes is not None and self._is_serving:
            self._writes.stop()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        super()._start_asgi_task(cycle, app)
        # The next response adds to what is watched, unless writing is paused until the client has taken that.
        if self._writes is not None and not self.flow.write_paused:
            self._writes.stop()

    @property
    def _request_arrives(self) -> bool:
        """Whether a request is partly read or waits in the socket: closing would reset the connection."""
        return not self._idle or _unread_bytes(self.transport) > 0

    @property
    def _is_serving(self) -> bool:
        return self._active is not None and not self._active.response_complete

    def _add_field(self, length: int) -> None:
        try:
            self._meter.add_field(length)
        except RefusedRequest as refusal:
            self._abort_parsing(refusal)

    def _write_refusal(self, refusal: RefusedRequest) -> None:
        self._refused = True
        super()._write_refusal(refusal)
        self._watch_writes()

    def _discard(self, length: int) -> None:
        """Drop what a refused client still sends, up to a limit, so that it reads the response."""
        self._discarded += length
        if self._discarded > _MAX_DISCARDED_BYTES:
            self.flow.pause_reading()

    def _watch_writes(self) -> None:
        """Watch whether the client takes what has been written."""
        if self._writes is not None and self.transport.get_write_buffer_size():
            self._writes.start()

    def _start_header_timer(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self._limits.header_seconds, self._header_timed_out)

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _header_timed_out(self) -> None:
        """Refuse an incomplete header; close without a response if nothing or only a body's rest came."""
        self._header_timer = None
        if self._meter.in_header and not self.transport.is_closing():
            seconds = self._limits.header_seconds
            self._write_refusal(
                RefusedRequest(408, f"408 Request Timeout: no whole header within {seconds:g} seconds")
            )
        elif self._meter.in_body or self.transport.get_write_buffer_size():
            self.reset()
        else:
            self.transport.close()


def _unread_bytes(transport: asyncio.Transport) -> int:
    """Bytes that the kernel has received and the event loop has not read yet; 0 for a closed connection."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:
        return 0
    return int.from_bytes(fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4)), sys.byteorder)
