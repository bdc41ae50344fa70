"""Request ids in and out, and one line in the log for each request."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drover import logs
from drover.errors import (
    ClientLeft,
    DeadlineExceeded,
    DroverError,
    EngineFailed,
    EngineStalled,
    ProtocolBroken,
    WorkerDraining,
    WorkerUnreachable,
)
from drover.v1 import engine_pb2 as pb
from frontend.middleware.client_id import Clients
from frontend.routing.fair_queue import Ticket
from frontend.routing.scheduler import Waited
from frontend.routing.scheduling_headers import SchedulingHeaders

_log = logging.getLogger("drover.request")
_ACCEPTABLE_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_HEADER = b"x-request-id"
_STATE_KEY = "drover.record"
_NS_PER_MS = 1_000_000
_ABORT_CAUSES: dict[type[DroverError], str] = {
    ClientLeft: "client left",
    DeadlineExceeded: "deadline",
    WorkerDraining: "shutdown",
    WorkerUnreachable: "worker lost",
    EngineFailed: "engine failed",
    EngineStalled: "engine stalled",
    ProtocolBroken: "protocol broken",
}
# Asked for every few seconds by things, not people.
_PROBES = frozenset({"/healthz", "/readyz"})


@dataclass(frozen=True, slots=True)
class Routed:
    """Where the smart router sent a request: `side` is what was decided, `model` who answers, which after a
    fallback is the other side's.
    """

    model: str
    side: str
    decision: str
    fell_back: bool = False

    @property
    def reason(self) -> str:
        return f"fallback after {self.decision}" if self.fell_back else self.decision


@dataclass(slots=True)
class RequestRecord:
    """What is known about a request; handlers add to `fields`. Times are of time.perf_counter_ns.
    `send_body`: the server's own, past everything that changes only heads.
    """

    request_id: str
    send_body: Callable[[Message], Coroutine[object, object, None]]
    client: str = ""
    """Whom fairness takes for one."""
    address: str = ""
    """Where it is, past the proxies that are trusted."""
    scheduling: SchedulingHeaders | None = None
    """None until they are read."""
    is_understood: bool = False
    """A body under /v1 was read and means something: what fails now fails in the native steps."""
    received_ns: int = field(default_factory=time.perf_counter_ns)
    status: int = 0
    fields: dict[str, logs.Field] = field(default_factory=dict)
    served: str = ""
    """The main name of the model that workers serve for it."""
    ttft_ns: int = 0
    truncated_tokens: int = 0
    waited: Waited = field(default_factory=Waited)
    retries: int = 0
    moves: int = 0
    stuck: str = ""
    abort_cause: str = ""
    done: pb.Done | None = None
    routed: Routed | None = None
    judge: str = ""
    """The model that judged it, and how long that took."""
    judge_seconds: float = 0.0

    @property
    def elapsed_ns(self) -> int:
        return time.perf_counter_ns() - self.received_ns

    def queue_headers(self) -> list[tuple[bytes, bytes]]:
        """How long it has waited for a worker, and behind how many; none for who did not wait."""
        if not self.waited.position:
            return []
        return [
            (b"x-drover-queue-seconds", b"%.3f" % self.waited.seconds),
            (b"x-drover-queue-position", b"%d" % self.waited.position),
        ]

    def route_headers(self) -> list[tuple[bytes, bytes]]:
        """Which model answers a virtual model's request, and why."""
        if self.routed is None:
            return []
        return [
            (b"x-drover-routed-model", self.routed.model.encode()),
            (b"x-drover-route-reason", self.routed.reason.encode()),
        ]

    def route_members(self) -> dict[str, str]:
        """The same in an answer's last object; empty for other models."""
        if self.routed is None:
            return {}
        return {"routed_model": self.routed.model, "route_reason": self.routed.reason}

    def judged(self, judge: str, seconds: float) -> None:
        self.judge, self.judge_seconds = judge, seconds
        self.fields["judge_ms"] = round(seconds * 1000, 2)

    @property
    def ticket(self) -> Ticket:
        return Ticket(self.client, self.request_id, self.scheduling.priority if self.scheduling else 0)

    def saw_first_event(self, not_honoured: list[str], truncated_tokens: int) -> None:
        self.ttft_ns = self.elapsed_ns
        self.truncated_tokens = truncated_tokens
        self.fields["ttft_ms"] = _milliseconds(self.ttft_ns)
        if not_honoured:
            self.fields["not_honoured"] = not_honoured
        if truncated_tokens:
            self.fields["truncated_tokens"] = truncated_tokens

    def failed(self, error: DroverError) -> None:
        self.abort_cause = _ABORT_CAUSES.get(type(error), "")
        if isinstance(error, ClientLeft):
            self.fields["client_left"] = True
        else:
            self.fields |= {"error": type(error).__name__, "error_message": error.message}

    def saw_done(self, done: pb.Done) -> None:
        self.done = done
        self.fields |= {
            "prompt_tokens": done.prompt_tokens,
            "completion_tokens": done.completion_tokens,
            "finish": pb.Done.FinishReason.Name(done.finish_reason).lower(),
            "queue_ms": _milliseconds(done.timings.queue_ns),
        }

    def saw_embeddings(self, response: pb.EmbedResponse, not_honoured: list[str]) -> None:
        self.fields |= {
            "embeddings": len(response.embeddings),
            "prompt_tokens": response.prompt_tokens,
            "queue_ms": _milliseconds(response.timings.queue_ns),
        }
        if not_honoured:
            self.fields["not_honoured"] = not_honoured
        if response.truncated_tokens:
            self.fields["truncated_tokens"] = response.truncated_tokens

    def write(self, scope: Scope) -> None:
        logs.event(
            _log,
            logging.DEBUG if scope["path"] in _PROBES else logging.INFO,
            "request",
            request_id=self.request_id,
            client=self.address,
            method=scope["method"],
            path=scope["path"],
            status=self.status,
            total_ms=_milliseconds(self.elapsed_ns),
            **self.fields,
        )


def record_of(scope: Scope) -> RequestRecord:
    return cast(RequestRecord, scope["state"][_STATE_KEY])


def _nothing(record: RequestRecord, route: str) -> None:
    pass


class RequestLog:
    """ASGI middleware; one call per message, where a BaseHTTPMiddleware would cost more than the relay.
    `over` gets each request and its route's path in the end.
    """

    def __init__(
        self, app: ASGIApp, clients: Clients, over: Callable[[RequestRecord, str], None] = _nothing
    ) -> None:
        self._app = app
        self._clients = clients
        self._over = over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = self._clients.address_of(scope)
        send_body = cast("Callable[[Message], Coroutine[object, object, None]]", send)
        record = RequestRecord(_request_id(scope), send_body, self._clients.name_of(scope, address), address)
        scope.setdefault("state", {})[_STATE_KEY] = record

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                record.status = message["status"]
                message["headers"] = [*message["headers"], (_HEADER, record.request_id.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            record.write(scope)
            self._over(record, _route_of(scope))
            # It refers to uvicorn's request by `send_body`, and that one to the scope: a cycle would keep all
            # of them until the collector's next full run.
            del scope["state"][_STATE_KEY]


def _route_of(scope: Scope) -> str:
    """Its path as it is written in the code; never what a client has made up."""
    return str(getattr(scope.get("route"), "path", ""))


def _request_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == _HEADER and _ACCEPTABLE_ID.fullmatch(value):
            return cast(bytes, value).decode()
    return secrets.token_hex(16)


def _milliseconds(nanoseconds: int) -> float:
    return round(nanoseconds / _NS_PER_MS, 2)
