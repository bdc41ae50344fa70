"""CORS: which web pages may call (docs/reference/ollama-contract.md, "Origins and hosts")."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from frontend.http.asgi import FORBIDDEN, header_of, send_empty_response
from frontend.observability.request_record import record_of

_LOCAL_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0")
_DESKTOP_APPS = ("app://*", "file://*", "tauri://*", "vscode-webview://*", "vscode-file://*")
_BROWSER_EXTENSIONS = ("chrome-extension://*", "moz-extension://*", "safari-web-extension://*")
BUILT_IN = (
    *(
        f"{scheme}://{host}{port}"
        for host in _LOCAL_HOSTS
        for scheme in ("http", "https")
        for port in ("", ":*")
    ),
    *_DESKTOP_APPS,
    *_BROWSER_EXTENSIONS,
)
_EVERYTHING = "*"

_METHODS = b"GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"
_HEADERS = (
    b"Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,"
    b"X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,X-Stainless-Lang,"
    b"X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,X-Stainless-Retry-Count,"
    b"X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Timeout"
)
_LISTED = frozenset(_HEADERS.lower().split(b","))
# Further headers of SDKs, whose names change with versions, of this server, and W3C's trace context, which
# OpenTelemetry in a browser sends.
_FURTHER = re.compile(
    rb"(?:x-)?api-key|anthropic-[a-z-]+|x-stainless-[a-z-]+|openai-[a-z-]+|idempotency-key|x-drover-[a-z-]+|"
    rb"x-(?:client-)?request-id|traceparent|tracestate",
    re.IGNORECASE,
)
_MAX_AGE_SECONDS = b"43200"
_ALLOW_ORIGIN = b"access-control-allow-origin"
_PREFLIGHT_VARY = b"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
# Of this server, and what OpenAI's and Anthropic's SDKs read in a browser about limits.
_EXPOSED = (b"x-drover-", b"x-ratelimit-", b"anthropic-ratelimit-", b"retry-after", b"x-should-retry")


def check_origin(origin: str) -> str:
    """Return a valid origin unchanged. Raises ValueError: like Ollama, the server does not start with
    another.
    """
    if origin.count("*") > 1:
        raise ValueError(f"{origin!r} has more than one *")
    if "*" not in origin and not origin.partition("://")[2]:
        raise ValueError(f"{origin!r} is no origin: it must be scheme://host, or have a *")
    return origin


class AllowedOrigins:
    """The built-in and the configured origins. `*` stands for any text."""

    def __init__(self, configured: Sequence[str]) -> None:
        origins = [origin.lower() for origin in (*configured, *BUILT_IN)]
        self.everything = _EVERYTHING in origins
        self._exact = frozenset(origin for origin in origins if "*" not in origin)
        cut = [origin.partition("*") for origin in origins if "*" in origin]
        self._wildcards = [(before, after) for before, _, after in cut]

    def __contains__(self, origin: str) -> bool:
        if self.everything:
            return True
        wanted = origin.lower()
        return wanted in self._exact or any(
            len(wanted) >= len(before) + len(after) and wanted.startswith(before) and wanted.endswith(after)
            for before, after in self._wildcards
        )


def _no_methods(_: Scope) -> Sequence[str]:
    return ()


class OriginRule:
    """ASGI middleware. Does nothing without an `Origin` header, and nothing per body message with one.

    Starlette's CORSMiddleware differs from Ollama: it refuses with 400 and a text, answers preflights with
    200, and lets simple requests of any page through.
    """

    def __init__(
        self, app: ASGIApp, configured: Sequence[str], methods: Callable[[Scope], Sequence[str]] = _no_methods
    ) -> None:
        """`methods`: returns those of a request's path."""
        self._app = app
        self._allowed = AllowedOrigins(configured)
        self._methods = methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = header_of(scope, b"origin") if scope["type"] == "http" else b""
        if not origin or _is_same_origin(origin, header_of(scope, b"host")):
            await self._app(scope, receive, send)
        elif (text := origin.decode("latin-1")) not in self._allowed:
            record_of(scope).fields["refused_origin"] = text
            await send_empty_response(send, FORBIDDEN, self._allow(scope))
        elif scope["method"] == "OPTIONS":
            await send_empty_response(
                send, 204, [*self._preflight_headers(scope, origin), *self._allow(scope)]
            )
        else:
            await self._app(scope, receive, self._with_permission(send, origin))

    def _allow(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """The Allow header for a method that the path lacks: Ollama's router sends it on any response."""
        methods = self._methods(scope)
        if not methods or scope["method"] in methods:
            return []
        return [(b"allow", ", ".join(methods).encode())]

    def _preflight_headers(self, scope: Scope, origin: bytes) -> list[tuple[bytes, bytes]]:
        return [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-allow-headers", b",".join([_HEADERS, *_further_headers(scope)])),
            (b"access-control-max-age", _MAX_AGE_SECONDS),
            *self._permission(origin, _PREFLIGHT_VARY),
        ]

    def _permission(self, origin: bytes, vary: bytes) -> list[tuple[bytes, bytes]]:
        if self._allowed.everything:
            return [(_ALLOW_ORIGIN, b"*")]
        return [(_ALLOW_ORIGIN, origin), (b"vary", vary)]

    def _with_permission(self, send: Send, origin: bytes) -> Send:
        async def send_with_permission(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                message["headers"] = [*headers, *self._permission(origin, b"Origin"), *_exposed(headers)]
            await send(message)

        return send_with_permission


def _further_headers(scope: Scope) -> list[bytes]:
    """The headers of SDKs that a preflight asks for and the fixed list lacks."""
    asked = header_of(scope, b"access-control-request-headers").split(b",")
    return [
        name for name in map(bytes.strip, asked) if _FURTHER.fullmatch(name) and name.lower() not in _LISTED
    ]


def _is_same_origin(origin: bytes, host: bytes) -> bool:
    return origin in (b"http://" + host, b"https://" + host)


def _exposed(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Let pages read this server's own headers. Ollama exposes none: responses without any stay like its."""
    ours = [name for name, _ in headers if name.lower().startswith(_EXPOSED)]
    return [(b"access-control-expose-headers", b",".join([*ours, b"x-request-id"]))] if ours else []
