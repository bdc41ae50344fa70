"""A request to an ASGI application, without a server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frontend.middleware.client_id import Clients
from frontend.middleware.request_log import RequestLog


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


async def ask(app: ASGIApp, method: str = "GET", **headers: str) -> Answer:
    """Underscores in the names of headers are hyphens. Our request id is not among the answer's."""
    answer = Answer()

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            names = [name.decode() for name, _ in message["headers"]]
            assert len(set(names)) == len(names)
            answer.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
            del answer.headers["x-request-id"]
        else:
            answer.body += message.get("body", b"")

    await RequestLog(app, Clients([]))(scope_of(method, **headers), _receive, send)
    return answer


def scope_of(method: str = "GET", **headers: str) -> Scope:
    pairs = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return {"type": "http", "method": method, "path": "/api/tags", "headers": pairs}


async def _receive() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


@dataclass
class Streaming:
    """An application that answers with two messages after the start."""

    headers: Mapping[str, str] = field(default_factory=dict)
    calls: int = 0
    sent_by: list[Send] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.calls += 1
        self.sent_by.append(send)
        headers = [(name.encode(), value.encode()) for name, value in self.headers.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        await send({"type": "http.response.body", "body": b"b"})
