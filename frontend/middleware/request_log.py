"""Request ids in and out, and one log line for each request."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drover import logs
from drover.durations import milliseconds
from drover.redaction import redacted
from frontend.middleware.client_id import Clients
from frontend.observability.request_record import RequestRecord, attach_record, detach_record

if TYPE_CHECKING:
    # It imports OpenTelemetry, which a process without traces does not load.
    from frontend.observability.request_trace import RequestTraces

_log = logging.getLogger("drover.request")
_ACCEPTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_HEADER = b"x-request-id"
# Called every few seconds by orchestrators: logged at debug level.
_PROBES = frozenset({"/healthz", "/readyz"})


def _ignore(record: RequestRecord, route: str) -> None:
    pass


class RequestLog:
    """ASGI middleware. One call per message: a BaseHTTPMiddleware would cost more than the relay.
    `on_finished` gets each request and its route's path. `traces`: None where there are none.
    """

    def __init__(
        self,
        app: ASGIApp,
        clients: Clients,
        on_finished: Callable[[RequestRecord, str], None] = _ignore,
        traces: RequestTraces | None = None,
    ) -> None:
        self._app = app
        self._clients = clients
        self._on_finished = on_finished
        self._traces = traces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = self._clients.address_of(scope)
        send_body = cast("Callable[[Message], Coroutine[object, object, None]]", send)
        record = RequestRecord(_request_id(scope), send_body, self._clients.name_of(scope, address), address)
        if self._traces is not None:
            begin_trace(self._traces, record, scope)
        attach_record(scope, record)

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message["headers"], (_HEADER, record.request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            log_request(record, scope)
            self._on_finished(record, _route_of(scope))
            detach_record(scope)


def begin_trace(traces: RequestTraces, record: RequestRecord, scope: Scope) -> None:
    record.trace = traces.begin(scope, record.address)
    if record.trace is not None and (trace_id := record.trace.trace_id):
        record.fields["trace_id"] = trace_id


def log_request(record: RequestRecord, scope: Scope) -> None:
    """Write the log line of a request that has ended."""
    logs.event(
        _log,
        logging.DEBUG if scope["path"] in _PROBES else logging.INFO,
        "request",
        request_id=record.request_id,
        client=record.address,
        method=scope["method"],
        path=scope["path"],
        status=record.status,
        total_ms=milliseconds(record.elapsed_ns),
        **record.fields,
    )


def _route_of(scope: Scope) -> str:
    """The route's path template from the code, never text of a client."""
    return str(getattr(scope.get("route"), "path", ""))


def _request_id(scope: Scope) -> str:
    """The client's, where it is printable, short and no key; else a new one."""
    for name, value in scope["headers"]:
        if name == _HEADER and _ACCEPTABLE_ID.fullmatch(value):
            text = cast(bytes, value).decode()
            if redacted(text) == text:
                return text
    return secrets.token_hex(16)
