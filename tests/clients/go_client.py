"""The CLI's HTTP client: the bytes of Go's net/http, answers read by the rules of Go's api.Client."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from typing import Any

from tests.clients.fleet import Fleet
from tests.clients.go_types import Kind, decode, string, struct

_AGENT = "ollama/0.33.0 (amd64 linux) Go/go1.26.0"
_WAIT_SECONDS = 30.0
_LONGEST_LINE = 8_000_000
_CHUNK_BYTES = 32 * 1024
_ERROR = struct({"error": string})


class GoStatusError(Exception):
    """An api.StatusError."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class GoStreamError(Exception):
    """The error line of a stream."""


class GoClient:
    """One connection, reused while the server keeps it open, as by Go's transport."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Close at once, also while a response is being read."""
        if self._socket is not None:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
            self._socket = None

    def do(
        self, method: str, path: str, body: bytes | None = None, kind: Kind | None = None
    ) -> dict[str, Any]:
        """The decoded response of a request that is not streamed; {} if the CLI reads none."""
        sized = ("Content-Length: 0", b"") if body is None and method == "POST" else _sized(body)
        answer = self._send(method, path, sized, "application/json")
        text = answer.read()
        self._finish(answer)
        if answer.status >= 400:
            raise GoStatusError(answer.status, _message(text))
        return decode(kind, text) if kind is not None else {}

    def upload(self, path: str, content: bytes) -> int:
        """Send a body and return the status. A body of unknown length is sent in chunks."""
        answer = self._send(
            "POST", path, ("Transfer-Encoding: chunked", _chunked(content)), "application/json"
        )
        text = answer.read()
        self._finish(answer)
        if answer.status >= 400:
            raise GoStatusError(answer.status, _message(text))
        return answer.status

    def stream(self, path: str, body: bytes, kind: Kind) -> Iterator[dict[str, Any]]:
        """The decoded lines of a stream. As in Go, an empty line is invalid JSON."""
        answer = self._send("POST", path, _sized(body), "application/x-ndjson")
        while line := answer.readline(_LONGEST_LINE + 1):
            assert len(line) <= _LONGEST_LINE
            text = line.removesuffix(b"\n")
            error = decode(_ERROR, text).get("error")
            if answer.status >= 400:
                self.close()
                raise GoStatusError(answer.status, error or "")
            if error:
                self.close()
                raise GoStreamError(error)
            yield decode(kind, text)
        self._finish(answer)

    def _send(self, method: str, path: str, sized: tuple[str, bytes], accept: str) -> HTTPResponse:
        length, body = sized
        lines = [
            f"{method} {path} HTTP/1.1",
            f"Host: {self._address}",
            f"User-Agent: {_AGENT}",
            *([length] if length else []),
            f"Accept: {accept}",
            "Content-Type: application/json",
            "Accept-Encoding: gzip",
        ]
        if self._socket is None:
            host, _, port = self._address.partition(":")
            self._socket = socket.create_connection((host, int(port)), timeout=_WAIT_SECONDS)
        self._socket.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        answer = HTTPResponse(self._socket, method=method)
        answer.begin()
        return answer

    def _finish(self, answer: HTTPResponse) -> None:
        if answer.will_close:
            self.close()


def _sized(body: bytes | None) -> tuple[str, bytes]:
    return ("", b"") if body is None else (f"Content-Length: {len(body)}", body)


def _chunked(content: bytes) -> bytes:
    pieces = [content[at : at + _CHUNK_BYTES] for at in range(0, len(content), _CHUNK_BYTES)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


def _message(text: bytes) -> str:
    """The error's text, or all of a body that is not JSON."""
    try:
        return str(json.loads(text)["error"])
    except ValueError:
        return text.decode()


@contextmanager
def command(fleet: Fleet) -> Iterator[GoClient]:
    """A run of the CLI, which first checks whether the server responds."""
    client = GoClient(fleet.frontend.address)
    try:
        client.do("HEAD", "/")
        yield client
    finally:
        client.close()
