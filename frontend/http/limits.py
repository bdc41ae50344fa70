"""Limits of one connection and of all together, and the refusal of a request that exceeds them."""

from __future__ import annotations

import resource
from dataclasses import dataclass

# Descriptors for channels to workers, the database and files.
_RESERVED_DESCRIPTORS = 256
# Each piece costs a callback of the event loop: limits a body in tiny chunks, or one that comes byte by byte.
_FREE_PIECES = 10_000
_BYTES_PER_FURTHER_PIECE = 64
# The shortest frame of a chunk has five bytes.
_FRAME_BYTES = 8
# Memory of a field beyond its text: a tuple and two objects. About 480 empty fields reach the default limit.
_FIELD_OVERHEAD_BYTES = 128


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of the frontend's connections.

    - `max_connections`, `max_per_address`: open connections, in all and from one address
    - `header_bytes`: size of a request line with its header fields, and of the framing of a chunked body
    - `header_seconds`: time for a complete header to arrive
    - `write_seconds`: time in which a client must take some of its response; 0 is no limit
    """

    max_connections: int
    max_per_address: int
    header_bytes: int
    header_seconds: float
    write_seconds: float


def usable_connections(wanted: int) -> int:
    """Return `wanted`, lowered to what the process's limit of file descriptors allows."""
    return min(wanted, max(1, raise_descriptor_limit() - _RESERVED_DESCRIPTORS))


def raise_descriptor_limit() -> int:
    """Raise the soft limit of file descriptors to the hard one; return the number then allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 2**31 if hard == resource.RLIM_INFINITY else hard


class RefusedRequest(Exception):
    """A request that is answered without reaching a route: `status` and `text` of its response."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@dataclass(slots=True)
class RequestMeter:
    """Counts the bytes of a connection's newest request that are not body: header, trailer, chunk framing.

    `max_bytes`: limit of the header section, and of a body's framing.
    """

    max_bytes: int
    in_header: bool = False
    in_body: bool = False
    _counted: int = 0
    _read: int = 0
    _body: int = 0
    _pieces: int = 0

    def begin(self) -> None:
        """Start a new request."""
        self.in_header, self.in_body = True, False
        self._counted = self._read = self._body = self._pieces = 0

    def end_header(self) -> None:
        self.in_header, self.in_body = False, True
        self._counted = self._read = 0

    def end(self) -> None:
        self.in_header = self.in_body = False

    def add_field(self, length: int) -> None:
        """Count the request line's target, or a field of header or trailer. Raises RefusedRequest."""
        self._counted += length + _FIELD_OVERHEAD_BYTES
        self._check(self._counted)

    def add_body(self, length: int) -> None:
        """Count one piece of the body. Raises RefusedRequest for too many pieces."""
        self._body += length
        self._pieces += 1
        if self._pieces > _FREE_PIECES + self._body // _BYTES_PER_FURTHER_PIECE:
            raise RefusedRequest(
                400, f"400 Bad Request: {self._pieces} chunks for {self._body} bytes of body are too many"
            )

    def add_read(self, length: int) -> None:
        """Count raw bytes, after the parser has read them. Raises RefusedRequest.

        Covers what the parser buffers without a callback: an unfinished field, and frames of chunks.
        """
        self._read += length
        if self.in_header:
            self._check(self._read)
        elif self.in_body:
            self._check(self._read - self._body - _FRAME_BYTES * self._pieces)

    def _check(self, length: int) -> None:
        if length > self.max_bytes:
            raise RefusedRequest(431, "431 Request Header Fields Too Large")
