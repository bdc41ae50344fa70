"""The limits of keys: refuses requests beyond them with 429, and settles the others when they end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drover.errors import DroverError, RateLimited
from frontend.access.key import Key, KeyLimits
from frontend.access.limits.admission import Admission
from frontend.access.limits.rate_limits import RateLimits
from frontend.http.asgi import header_of
from frontend.middleware.limit_headers import limit_headers, refused_headers
from frontend.observability.request_record import record_of

COUNTED = frozenset(
    {
        *("/api/chat", "/api/generate", "/api/embed", "/api/embeddings", "/console/chat"),
        *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages"),
        *("/v1/responses", "/v1/responses/compact"),
        *("/v1/systemone", "/v1/decisions"),
        *("/rerank", "/v1/rerank", "/v2/rerank", "/score", "/v1/score", "/classify", "/v1/classify"),
    }
)
"""The paths whose POST counts: those that make a worker compute an answer."""

_UNLIMITED = KeyLimits()
# About the tokens of English text.
_BYTES_PER_TOKEN = 4
# For a chunked body, whose length is not known: a long prompt's.
_UNKNOWN_BYTES = 128 * 1024


class LimitedRequests:
    """ASGI middleware, within the one that finds the request's key. `respond`: makes the response to a path's
    failed request.
    """

    def __init__(
        self, app: ASGIApp, limits: RateLimits, respond: Callable[[Scope, DroverError], Response]
    ) -> None:
        self._app = app
        self._limits = limits
        self._respond = respond

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Not a coroutine: a request without limits passes at the cost of one call."""
        key = record_of(scope).key if scope["type"] == "http" else None
        if key is None or key.limits == _UNLIMITED or not _counts(scope):
            return self._app(scope, receive, send)
        return self._limited(scope, receive, send, key)

    async def _limited(self, scope: Scope, receive: Receive, send: Send, key: Key) -> None:
        record = record_of(scope)
        try:
            admission = await self._limits.admit(key, _length(scope) // _BYTES_PER_TOKEN)
        except RateLimited as error:
            await self._refuse(scope, receive, send, error, key)
            return
        record.admission = admission
        try:
            await self._app(scope, receive, _with_headers(send, scope["path"], admission))
        finally:
            record.end_admission()

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, error: RateLimited, key: Key) -> None:
        record_of(scope).record_error(error)
        response = self._respond(scope, error)
        path = scope["path"]
        response.raw_headers += refused_headers(path, error) + limit_headers(path, self._limits.states(key))
        await response(scope, receive, send)


def _counts(scope: Scope) -> bool:
    return scope["path"] in COUNTED and scope["method"] == "POST"


def _length(scope: Scope) -> int:
    """Of the body as it is sent."""
    if header_of(scope, b"transfer-encoding"):
        return _UNKNOWN_BYTES
    text = header_of(scope, b"content-length")
    return int(text) if text.isdigit() and len(text) < 16 else 0


def _with_headers(send: Send, path: str, admission: Admission) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            refusal = admission.refusal
            more = [] if refusal is None else refused_headers(path, refusal)
            message["headers"] = [*message["headers"], *more, *limit_headers(path, admission.states)]
        await send(message)

    return send_with_headers
