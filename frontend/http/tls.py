"""TLS below an HTTP protocol, with the limits of a plain connection from its first byte on.

asyncio makes a connection known to its protocol once the handshake is done, and neither counts nor bounds it
before (docs/adr/0049-tls-in-both-tiers.md). Here the HTTP protocol has the connection at once: its
table of connections and its header timer include the handshake.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from drover.tls.files import TlsFiles, load_chain
from drover.tls.refusals import Refusals
from drover.tls.reload import Reloaded

_log = logging.getLogger("drover.frontend")
# Of TLS 1.2; those of 1.3 are all good.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_CHUNK_BYTES = 256 * 1024
# The first byte of a handshake.
_HANDSHAKE_RECORD = 22
_PLAIN_HTTP = b"this port serves HTTPS: use a URL that starts with https://\n"
# Time between a refusal and the close (frontend/http/protocol.py).
_LINGER_SECONDS = 0.5


def server_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 and 1.3 with forward secrecy. Raises ValueError for files that cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    # Clients of Go and Python do not resume sessions, and keep connections open.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    load_chain(context, files)
    return context


class TlsServer:
    """Makes the protocol of each connection: `http` makes the one that is above TLS."""

    def __init__(self, contexts: Reloaded[ssl.SSLContext], http: Callable[..., asyncio.Protocol]) -> None:
        self._contexts = contexts
        self._http = http
        self._failures = Refusals(_log, logging.INFO, "TLS handshake failed")

    def __call__(self, **arguments: object) -> TlsConnection:
        return TlsConnection(self._contexts.current, self._http(**arguments), self._failures)


class TlsConnection(asyncio.Protocol):
    """The protocol of the TCP connection."""

    def __init__(self, context: ssl.SSLContext, http: asyncio.Protocol, failures: Refusals) -> None:
        self._context = context
        self._http = http
        self._failures = failures
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._received, self._to_send, server_side=True)
        self._tcp: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made
        self._has_begun = self._is_established = self._is_refused = False
        # Written during the handshake, and sent after it.
        self._early = bytearray()
        self._is_reading = True
        self._is_ending = self._closes_then = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # TCP: a Transport always
        self._tcp = transport
        self._http.connection_made(TlsTransport(self, transport, self._context))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._has_begun and not self._is_established and not self._is_refused:
            self._failures.add(self._client, "the connection ended during the handshake")
        self._http.connection_lost(exc)

    def eof_received(self) -> bool | None:
        return self._http.eof_received()

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if not self._has_begun:
            self._has_begun = True
            if data[0] != _HANDSHAKE_RECORD:
                self._refuse_plain(data)
                return
        self._received.write(data)
        if self._is_established or self._handshake():
            self._read()

    # Of the transport above

    def write(self, data: bytes) -> None:
        if self._is_ending or self._tcp.is_closing():
            return
        if not self._is_established:
            self._early += data
            return
        rest = memoryview(data)
        # One record at a time.
        while rest:
            rest = rest[self.tls.write(rest) :]
        self._flush()

    @property
    def is_closing(self) -> bool:
        return self._closes_then or self._tcp.is_closing()

    @property
    def unsent_bytes(self) -> int:
        return len(self._early) + self._tcp.get_write_buffer_size()

    def end(self, *, close: bool) -> None:
        """Send what was written, then that no more comes. With `close`, close the connection then."""
        if self._early and not self._is_refused:
            # A refusal: the client reads it after the handshake.
            self._closes_then = self._closes_then or close
            self._is_ending = True
            return
        if self._is_established and not self._is_ending:
            self._send_close_notify()
        self._is_ending = True
        if close:
            self._tcp.close()
        elif not self._tcp.is_closing():
            self._tcp.write_eof()

    def set_reading(self, reads: bool) -> None:
        """While it does not read, what was received stays encrypted."""
        self._is_reading = reads
        if reads:
            asyncio.get_running_loop().call_soon(self._read)

    # Of TLS

    def _handshake(self) -> bool:
        """Go on with it; whether it is done."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        except ssl.SSLError as error:
            self._flush()
            self._fail(error.reason or str(error))
            return False
        self._is_established = True
        self._flush()
        if self._early:
            early, self._early = bytes(self._early), bytearray()
            ends, self._is_ending = self._is_ending, False
            self.write(early)
            if ends:
                self.end(close=self._closes_then)
        return True

    def _read(self) -> None:
        while self._is_established and self._is_reading and not self._tcp.is_closing():
            try:
                data = self.tls.read(_CHUNK_BYTES)
            except ssl.SSLWantReadError:
                # An update of keys has an answer.
                self._flush()
                return
            except ssl.SSLError as error:
                self._fail(error.reason or str(error))
                return
            if not data:
                self._http.eof_received()
                self.end(close=True)
                return
            self._http.data_received(data)

    def _flush(self) -> None:
        if self._to_send.pending and not self._tcp.is_closing():
            self._tcp.write(self._to_send.read())

    def _send_close_notify(self) -> None:
        # It wants to read the client's.
        with suppress(ssl.SSLError):
            self.tls.unwrap()
        self._flush()

    # Of clients that speak something else

    def _refuse_plain(self, data: bytes) -> None:
        if not data[:1].isalpha():
            self._fail("this is not TLS")
            return
        self._fail("this is HTTP without TLS", close=False)
        self._tcp.write(
            b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%b" % (len(_PLAIN_HTTP), _PLAIN_HTTP)
        )
        self._tcp.write_eof()
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._tcp.abort)

    def _fail(self, reason: str, *, close: bool = True) -> None:
        self._is_refused = True
        self._early.clear()
        self._failures.add(self._client, reason)
        if close:
            self._tcp.close()

    @property
    def _client(self) -> str:
        peer = self._tcp.get_extra_info("peername")
        return str(peer[0]) if isinstance(peer, tuple) else str(peer or "")


class TlsTransport(asyncio.Transport):
    """The transport that the HTTP protocol writes to."""

    def __init__(self, connection: TlsConnection, tcp: asyncio.Transport, context: ssl.SSLContext) -> None:
        super().__init__()
        self._connection = connection
        self._tcp = tcp
        self._own = {"sslcontext": context, "ssl_object": connection.tls}

    def get_extra_info(self, name: str, default: object = None) -> Any:  # noqa: ANN401 - as asyncio has it
        return self._own[name] if name in self._own else self._tcp.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._connection.write(bytes(data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._connection.end(close=False)

    def close(self) -> None:
        self._connection.end(close=True)

    def abort(self) -> None:
        self._tcp.abort()

    def is_closing(self) -> bool:
        return self._connection.is_closing

    def is_reading(self) -> bool:
        return self._tcp.is_reading()

    def pause_reading(self) -> None:
        self._connection.set_reading(False)
        self._tcp.pause_reading()

    def resume_reading(self) -> None:
        self._tcp.resume_reading()
        self._connection.set_reading(True)

    def get_write_buffer_size(self) -> int:
        return self._connection.unsent_bytes
