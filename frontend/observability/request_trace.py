"""The spans of one request in this tier: the request itself, its waits in the queue, and its attempts.

Attributes have no text of prompts, answers, headers or error messages, and no model name that the fleet does
not know.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from google.protobuf.message import Message
from starlette.types import Scope

from drover.durations import NS_PER_SECOND
from drover.errors import ClientLeft, DroverError
from drover.tracing.span import Attribute, Kind, Span
from drover.tracing.tracing import Tracing
from frontend.observability.genai_attributes import of_request, of_result
from frontend.routing.model_queue import QueueWait

if TYPE_CHECKING:
    from frontend.observability.request_record import RequestRecord

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY"}
)
# Asked every few seconds, by orchestrators and by Prometheus.
_UNTRACED = frozenset({"/healthz", "/readyz", "/metrics"})
# host:port, or ollama:http://host:port/model#name.
_ADDRESS = re.compile(
    r"(?:ollama:\w+://)?(?P<host>\[[^\]]+\]|[^:/\[\]]+)(?::(?P<port>\d+))?(?:[/#].*)?", re.DOTALL
)
# A status from which on a server span has failed; the client's mistakes are no errors of the server.
_SERVER_ERROR = 500


class RequestTraces:
    """Begins the trace of each request."""

    def __init__(self, tracing: Tracing) -> None:
        self._tracing = tracing
        self._headers = tracing.header_names

    def begin(self, scope: Scope, address: str) -> RequestTrace | None:
        """None for a route that is not traced. `address`: the client's."""
        if scope["path"] in _UNTRACED:
            return None
        method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
        attributes: dict[str, Attribute] = {
            "http.request.method": method,
            "url.scheme": scope.get("scheme", "http"),
            "network.protocol.version": scope.get("http_version", "1.1"),
        }
        if address:
            attributes["client.address"] = address
        name = "HTTP" if method == "_OTHER" else method
        return RequestTrace(self._tracing.begin(name, Kind.SERVER, self._carrier(scope), attributes), name)

    def _carrier(self, scope: Scope) -> dict[str, str]:
        """The headers of the trace's context. Those of one name are one list, as W3C says of `tracestate`; a
        `traceparent` that comes twice is none.
        """
        carrier: dict[str, str] = {}
        for header, value in scope["headers"]:
            if header in self._headers:
                name, text = header.decode("latin-1"), value.decode("latin-1")
                carrier[name] = f"{carrier[name]},{text}" if name in carrier else text
        return carrier


class RequestTrace:
    """The trace of one request, from its arrival to `finish`."""

    def __init__(self, span: Span, name: str) -> None:
        self._span = span
        self._name = name
        self._open: dict[Span, None] = {}

    @property
    def trace_id(self) -> str:
        """Empty for a request that is not sampled."""
        return self._span.trace_id if self._span.is_recording else ""

    def detached(self) -> RequestTrace:
        """For work that continues after the response."""
        return RequestTrace(self._span.child("background"), "background")

    def attempts(self) -> Attempts:
        return Attempts(self)

    def begin(self, name: str, kind: Kind, attributes: Mapping[str, Attribute] | None = None) -> Span:
        span = self._span.child(name, kind, attributes)
        self._open[span] = None
        return span

    def end(self, span: Span, error: str = "") -> None:
        span.end(error)
        self._open.pop(span, None)

    def discard(self, span: Span) -> None:
        """Never end it, so that it is not exported."""
        self._open.pop(span, None)

    def describe(self, request: Message) -> None:
        """Add what the client asks of the model."""
        if self._span.is_recording:
            self._span.add(of_request(request))

    def finish(self, record: RequestRecord, route: str) -> None:
        """`route`: the path's template; the response has been sent, or its client is gone."""
        for span in self._open:
            span.end(_cause(record))
        self._open.clear()
        if self._span.is_recording:
            if route:
                self._span.rename(f"{self._name} {route}" if self._name != route else route)
                self._span.add({"http.route": route})
            self._span.add(_outcome(record) | of_result(record, route))
        self._span.end(_error(record))


def _cause(record: RequestRecord) -> str:
    """Why spans are still open when the request ends."""
    return str(record.fields.get("error") or ClientLeft.__name__)


def _outcome(record: RequestRecord) -> dict[str, Attribute]:
    outcome: dict[str, Attribute] = {"drover.retries": record.retries, "drover.failovers": record.failovers}
    if record.status:
        outcome["http.response.status_code"] = record.status
    if record.abort_cause:
        outcome["drover.abort_cause"] = record.abort_cause
    return outcome


def _error(record: RequestRecord) -> str:
    """An error in a stream that began with 200 counts too; a client that leaves is no error."""
    failed = str(record.fields.get("error", ""))
    if record.status >= _SERVER_ERROR:
        return failed or str(record.status)
    return failed if record.status < 400 else ""


class Attempts:
    """The waits and attempts of one generation or call; a request for several choices has several."""

    def __init__(self, trace: RequestTrace) -> None:
        self._trace = trace
        self._queue: Span | None = None
        self._attempt: Span | None = None

    def queued(self) -> None:
        self._queue = self._trace.begin("queue", Kind.INTERNAL)

    def waited(self, wait: QueueWait) -> None:
        """A request that passed straight through has no span for it."""
        queue, self._queue = self._queue, None
        if queue is None:
            return
        if wait.position:
            queue.add({"drover.queue.position": wait.position})
            _add_load(queue, wait)
            self._trace.end(queue)
        else:
            self._trace.discard(queue)

    def not_queued(self, error: DroverError) -> None:
        queue, self._queue = self._queue, None
        if queue is not None:
            self._trace.end(queue, type(error).__name__)

    def sent_to(self, address: str) -> Mapping[str, str]:
        """Begin an attempt; returns the context that its request carries to the worker."""
        self._attempt = self._trace.begin("attempt", Kind.CLIENT, _server(address))
        return self._attempt.carrier()

    def ended(self, error: DroverError | None) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            self._trace.end(attempt, "" if error is None else type(error).__name__)


def _add_load(queue: Span, wait: QueueWait) -> None:
    """The part of the wait in which a host loaded the model. One that had begun for another request counts
    from this one's arrival; the host's clock may be another.
    """
    if wait.load is not None:
        now_ns = time.time_ns()
        began_ns = max(wait.load.began_unix_ns, now_ns - round(wait.seconds * NS_PER_SECOND))
        queue.add_past("load", min(began_ns, now_ns), now_ns, {"drover.host": wait.load.host})


def _server(address: str) -> dict[str, Attribute]:
    """A worker's address, or that of an Ollama host, by the conventions' names."""
    found = _ADDRESS.fullmatch(address)
    host = found["host"].strip("[]") if found else address
    attributes: dict[str, Attribute] = {"server.address": host, "drover.worker": address}
    if found and found["port"]:
        attributes["server.port"] = int(found["port"])
    return attributes
