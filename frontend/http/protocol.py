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
from frontend.http.refused import RefusedRequest

_log = logging.getLogger("drover.frontend")
_REQUEST_LINE = re.compile(rb"(?:\r?\n)*([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?= \S+ HTTP/1\.[01]\r?\n)")
# Known to the parser, and may have a body or none.
_STAND_IN = b"POST"
_RETRY = b"retry-after: 1\r\n"
# Go's server waits as long.
_LINGER_SECONDS = 0.5
_OF_UPGRADES = (b"upgrade", b"http2-settings")


_BAD_REQUEST = RefusedRequest(400, "400 Bad Request")
_NO_HOST = RefusedRequest(400, "400 Bad Request: missing required Host header")
_SEVERAL_HOSTS = RefusedRequest(400, "400 Bad Request: too many Host headers")


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    # Nothing of a request has been read.
    _idle = True
    # Messages whose beginning the parser saw in the data that it reads.
    _begun = 0
    _upgrading = False
    _method = b""
    _refusal = _BAD_REQUEST
    _refused = False
    # The request that is being answered; those after it wait in the pipeline.
    _active: RequestResponseCycle | None = None

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
        self._idle, self._upgrading, self._method = True, False, method

    def on_message_begin(self) -> None:
        self._idle = False
        self._begun += 1
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if problem := self._problem():
            self._stop(problem)
        if self.parser.should_upgrade():
            self._upgrading = True
            return
        super().on_headers_complete()
        if self._method:
            self.scope["method"] = self._method.decode("ascii")
            self._method = b""

    def _problem(self) -> RefusedRequest | None:
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

    def _stop(self, refusal: RefusedRequest) -> None:
        """Leaves the parser, which raises an error of its own for whatever is raised in it."""
        self._refusal = refusal
        raise refusal

    def _refuse(self, refusal: RefusedRequest) -> None:
        """Answers and closes. Answers to earlier requests of the connection are given first."""
        self._refused = True
        logs.event(
            _log,
            logging.INFO,
            "refused a request",
            status=refusal.status,
            reason=refusal.text,
            client=str(self.client),
        )
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        last = self.pipeline[0][0] if self.pipeline else self._active
        if last is None or last.response_complete:
            self._say(refusal)
        elif last.more_body and not last.response_started:
            # It is this request's body that cannot be read, and its route waits for it.
            self._say(refusal)
            last.disconnected = True
            last.message_event.set()
        else:
            last.keep_alive = False
            self.flow.resume_reading()

    def _say(self, refusal: RefusedRequest) -> None:
        """Closes later: closed at once, a connection is reset by what the client still sends."""
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
