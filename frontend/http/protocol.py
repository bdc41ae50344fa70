"""Uvicorn's HTTP/1.1 protocol with the rules of Go's server where uvicorn has none.

- An upgrade that is not offered is ignored, as RFC 9110 (7.8) wants it, and none is offered here. Java's
  HttpClient sends `Upgrade: h2c` with its requests. httptools skips the body of such a request, so its head
  is parsed again without the upgrade.
- A method that the parser does not know reaches the routes, which answer 405 with `Allow`.
- A request of HTTP/1.1 has one `Host`.
"""

from __future__ import annotations

import logging
import re

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from drover import logs
from frontend.http.limits import RefusedRequest

_log = logging.getLogger("drover.frontend")
_REQUEST_LINE = re.compile(rb"(?:\r?\n)*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?= \S+ HTTP/1\.[01]\r?\n)")
# Given to the parser in place of an unknown method: one that may have a body or none.
_PARSED_METHOD = b"POST"
_RETRY = b"retry-after: 1\r\n"
# Time between a refusal and the close; as long as Go's server waits.
_LINGER_SECONDS = 0.5
_UPGRADE_FIELDS = (b"upgrade", b"http2-settings")
_BAD_REQUEST = RefusedRequest(400, "400 Bad Request")
_NO_HOST = RefusedRequest(400, "400 Bad Request: missing required Host header")
_SEVERAL_HOSTS = RefusedRequest(400, "400 Bad Request: too many Host headers")


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    # True between requests.
    _idle = True
    # Requests that began in the data being parsed.
    _begun = 0
    _upgrading = False
    _method = b""
    _refusal = _BAD_REQUEST
    _refused = False
    # The request being served; later ones wait in the pipeline.
    _active: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        while data and not self._refused:
            data = self._read(data)

    def _read(self, data: bytes) -> bytes:
        """Parse `data`; return what remains to be parsed by a new parser."""
        was_idle, self._begun = self._idle, 0
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._head_without_upgrade() + data[upgrade.args[0] :]
        except httptools.HttpParserInvalidMethodError:
            line = _REQUEST_LINE.match(data)
            if line and was_idle and self._begun == 1:
                self._reset_parser(line[1])
                return _PARSED_METHOD + data[line.end() :]
            self._refuse(_BAD_REQUEST)
        except httptools.HttpParserError:
            self._refuse(self._refusal)
        return b""

    def _head_without_upgrade(self) -> bytes:
        """The request's head without the upgrade, to be parsed by a new parser."""
        method, url, version = self.parser.get_method(), self.url, self.parser.get_http_version()
        if method == b"CONNECT":
            # httptools takes CONNECT for an upgrade. Its target is an address, not a path.
            self._reset_parser(method)
            method, url = _PARSED_METHOD, url if url.startswith(b"/") else b"/"
        else:
            self._reset_parser(self._method)
        lines = [b"%b %b HTTP/%b" % (method, url, version.encode())]
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(token for token in _tokens(value) if token not in _UPGRADE_FIELDS)
            if name not in _UPGRADE_FIELDS:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def _reset_parser(self, method: bytes) -> None:
        """Start a new parser. `method` replaces the one that it reads of the next request, unless empty."""
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._idle, self._upgrading, self._method = True, False, method

    def on_message_begin(self) -> None:
        self._idle = False
        self._begun += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if refusal := self._host_refusal():
            self._abort_parsing(refusal)
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        super().on_headers_complete()
        if self._method:
            self.scope["method"] = self._method.decode("ascii")
            self._method = b""

    def _host_refusal(self) -> RefusedRequest | None:
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1:
            return _SEVERAL_HOSTS
        return _NO_HOST if not hosts and self.parser.get_http_version() == "1.1" else None

    def on_message_complete(self) -> None:
        self._idle = True
        if not self._upgrading:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def _abort_parsing(self, refusal: RefusedRequest) -> None:
        """Refuse the request from within a parser's callback: httptools replaces any exception by its own."""
        self._refusal = refusal
        raise refusal

    def _refuse(self, refusal: RefusedRequest) -> None:
        """Write the refusal and close, after the responses to earlier requests of the connection."""
        self._refused = True
        logs.event(
            _log,
            logging.INFO,
            "request refused before routing",
            status=refusal.status,
            reason=refusal.text,
            client=str(self.client),
        )
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        last = self.pipeline[0][0] if self.pipeline else self._active
        if last is None or last.response_complete:
            self._write_refusal(refusal)
        elif last.more_body and not last.response_started:
            # The route is waiting for this request's body, which cannot be read.
            self._write_refusal(refusal)
            last.disconnected = True
            last.message_event.set()
        else:
            last.keep_alive = False
            self.flow.resume_reading()

    def _write_refusal(self, refusal: RefusedRequest) -> None:
        """Write the response and close after a delay: closed at once, the connection would be reset by data
        that the client still sends, and the response lost.
        """
        body = refusal.text.encode()
        retry = _RETRY if refusal.status == 503 else b""
        self.transport.write(
            b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%b"
            b"connection: close\r\n\r\n%b" % (STATUS_LINE[refusal.status], len(body), retry, body)
        )
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)


def _tokens(value: bytes) -> list[bytes]:
    return [token.strip().lower() for token in value.split(b",")]
