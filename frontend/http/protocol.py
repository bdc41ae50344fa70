"""Uvicorn's HTTP/1.1 protocol with the rules of Go's server where uvicorn has none.

- An upgrade that is not offered is ignored, as RFC 9110 (7.8) wants it, and none is offered here. Java's
  HttpClient sends `Upgrade: h2c` with its requests. httptools skips the body of such a request, so its head
  is parsed again without the upgrade.
- A method that the parser does not know reaches the routes, which answer 405 with `Allow`.
- A request of HTTP/1.1 has one `Host`, and a head has a bound.
"""

from __future__ import annotations

import logging
import re

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from drover import logs

_log = logging.getLogger("drover.frontend")
# Go's default. httptools itself has no bound.
MAX_HEAD_BYTES = 1024 * 1024
_BAD_REQUEST = (400, "400 Bad Request")
_TOO_LARGE = (431, "431 Request Header Fields Too Large")
_NO_HOST = (400, "400 Bad Request: missing required Host header")
_SEVERAL_HOSTS = (400, "400 Bad Request: too many Host headers")
_REQUEST_LINE = re.compile(rb"(?:\r?\n)*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?= \S+ HTTP/1\.[01]\r?\n)")
# Known to the parser, and may have a body or none.
_STAND_IN = b"POST"
_OF_UPGRADES = (b"upgrade", b"http2-settings")


class RefusedRequest(Exception):
    """A head that no route sees. The status and the text are kept by the protocol."""


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    # Nothing of a request has been read.
    _idle = True
    # Messages whose beginning the parser saw in the data that it reads.
    _begun = 0
    _upgrading = False
    _method = b""
    _head_bytes = 0
    _refusal = _BAD_REQUEST
    _refused = False

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        while data and not self._refused:
            data = self._read(data)

    def _read(self, data: bytes) -> bytes:
        """What is to be read after it."""
        was_idle, self._begun = self._idle, 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._without_upgrade() + data[upgrade.args[0] :]
        except httptools.HttpParserInvalidMethodError:
            line = _REQUEST_LINE.match(data)
            if line and was_idle and self._begun == 1:
                self._parse_anew(line[1])
                return _STAND_IN + data[line.end() :]
            self._refuse(_BAD_REQUEST)
        except httptools.HttpParserError:
            self._refuse(self._refusal)
        else:
            self._count_open_head(data)
        return b""

    def _without_upgrade(self) -> bytes:
        method, url, version = self.parser.get_method(), self.url, self.parser.get_http_version()
        if method == b"CONNECT":
            # To the parser it is an upgrade. Its target is an address, which is no path.
            self._parse_anew(method)
            method, url = _STAND_IN, url if url.startswith(b"/") else b"/"
        else:
            self._parse_anew(self._method)
        lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(token for token in _tokens(value) if token not in _OF_UPGRADES)
            if name not in _OF_UPGRADES:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _parse_anew(self, method: bytes) -> None:
        """`method`: what the next request is to be routed as; empty for what the parser reads."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._idle, self._upgrading, self._method, self._head_bytes = True, False, method, 0

    def _count_open_head(self, data: bytes) -> None:
        """A head that has not ended yet is bounded too."""
        if self._idle or self._in_body:
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse(_TOO_LARGE)

    _in_body = False

    def on_message_begin(self) -> None:
        self._idle, self._in_body, self._head_bytes = False, False, 0
        self._begun += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_body = True
        if problem := self._problem():
            self._refusal = problem
            raise RefusedRequest(problem[1])
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        super().on_headers_complete()
        if self._method:
            self.scope["method"] = self._method.decode("ascii")
            self._method = b""

    def _problem(self) -> tuple[int, str] | None:
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            return _TOO_LARGE
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1:
            return _SEVERAL_HOSTS
        return _NO_HOST if not hosts and self.parser.get_http_version() == "1.1" else None

    def on_message_complete(self) -> None:
        self._idle = True
        if not self._upgrading:
            super().on_message_complete()

    def _refuse(self, refusal: tuple[int, str]) -> None:
        """Answers and closes. An answer to an earlier request of the connection is finished first."""
        status, text = refusal
        self._refused = True
        logs.event(
            _log, logging.INFO, "refused a request", status=status, reason=text, client=str(self.client)
        )
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            self.pipeline.clear()
            return
        body = text.encode()
        self.transport.write(
            b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (STATUS_LINE[status], len(body), body)
        )
        self.transport.close()


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip().lower() for token in value.split(b",")]
