"""Which pages may call, and what their browsers learn (ollama-contract.md, "Origins and hosts")."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from starlette.types import Message

from frontend.middleware.cors import AllowedOrigins, OriginRule, check_origin
from tests.unit.frontend.middleware.asgi_client import Streaming, ask, scope_of

_VISIBLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="*"), max_size=12)
_HOST_LETTERS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=30)


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "https://localhost",
        "http://localhost:3000",
        "https://127.0.0.1:1",
        "http://127.0.0.1",
        "http://0.0.0.0:65535",
        "https://0.0.0.0",
        "app://obsidian.md",
        "file://",
        "tauri://localhost",
        "vscode-webview://abc",
        "vscode-file://vscode-app",
        "chrome-extension://abc",
        "moz-extension://abc",
        "safari-web-extension://abc",
    ],
)
def test_built_in_origins(origin: str) -> None:
    assert origin in AllowedOrigins([])


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example",
        "http://notlocalhost",
        "http://192.168.0.1",
        "ftp://localhost",
        "evil://app://x",
        "chrome-extensions://abc",
        "localhost",
    ],
)
def test_other_origins_are_not_allowed(origin: str) -> None:
    assert origin not in AllowedOrigins([])


@pytest.mark.parametrize(
    ("configured", "origin", "allowed"),
    [
        ("https://chat.example", "https://chat.example", True),
        ("HTTPS://Chat.Example", "https://chat.example", True),
        ("https://chat.example", "http://chat.example", False),
        ("https://chat.example", "https://chat.example:8443", False),
        ("https://*.example", "https://a.b.example", True),
        ("https://*.example", "https://example", False),
        ("https://*.example", "https://a.example.evil", False),
        ("http://10.0.0.1:*", "http://10.0.0.1:8080", True),
        ("http://10.0.0.1:*", "http://10.0.0.10:8080", False),
        ("*://chat.example", "capacitor://chat.example", True),
        ("*", "null", True),
    ],
)
def test_configured_origins(configured: str, origin: str, allowed: bool) -> None:
    assert (origin in AllowedOrigins([configured])) is allowed
    assert "http://localhost:3000" in AllowedOrigins([configured])


@given(before=_VISIBLE, between=_VISIBLE, after=_VISIBLE)
def test_a_star_stands_for_any_text(before: str, between: str, after: str) -> None:
    assert before + between + after in AllowedOrigins([f"{before}*{after}"])


@given(pattern=st.text("ab*", max_size=6), origin=st.text("ab", max_size=6))
def test_a_pattern_allows_only_what_it_matches(pattern: str, origin: str) -> None:
    assume(pattern.count("*") <= 1)

    said = re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), origin)
    assert (origin in AllowedOrigins([pattern])) is bool(said)


@given(
    host=_HOST_LETTERS, scheme=st.sampled_from(["http", "https"]), port=st.sampled_from(["", ":80", ":3000"])
)
def test_no_other_host_is_built_in(host: str, scheme: str, port: str) -> None:
    assume(host not in {"localhost", "127.0.0.1", "0.0.0.0"})
    assert f"{scheme}://{host}{port}" not in AllowedOrigins([])


@pytest.mark.parametrize(
    "origin", ["https://chat.example", "*", "chrome-extension://*", "*.example", "app://x"]
)
def test_valid_origins_are_accepted(origin: str) -> None:
    assert check_origin(origin) == origin


@pytest.mark.parametrize(
    "origin", ["chat.example", "localhost:3000", "null", "https://*.example:*", "https://"]
)
def test_invalid_origins_are_refused(origin: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(origin))):
        check_origin(origin)


async def test_an_allowed_page_gets_its_origin_back() -> None:
    app = Streaming({"content-type": "x"})

    answer = await ask(OriginRule(app, []), origin="http://localhost:3000", host="127.0.0.1:11434")

    assert answer.headers == {
        "content-type": "x",
        "access-control-allow-origin": "http://localhost:3000",
        "vary": "Origin",
    }
    assert answer.body == b"ab"


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "HEAD"])
async def test_another_page_gets_403_without_a_body(method: str) -> None:
    app = Streaming()

    answer = await ask(OriginRule(app, []), method, origin="https://evil.example", host="localhost")

    assert (answer.status, answer.headers, answer.body) == (403, {"content-length": "0"}, b"")
    assert app.calls == 0


@pytest.mark.parametrize("origin", ["http://chat.example:11434", "https://chat.example:11434"])
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_same_origin_requests_get_no_cors_headers(origin: str, method: str) -> None:
    app = Streaming()

    answer = await ask(OriginRule(app, []), method, origin=origin, host="chat.example:11434")

    assert (answer.status, answer.headers) == (200, {})


@pytest.mark.parametrize(
    "origin", ["http://chat.example", "http://chat.example:80", "ws://chat.example:11434"]
)
async def test_the_same_host_means_scheme_and_port_too(origin: str) -> None:
    assert (await ask(OriginRule(Streaming(), []), origin=origin, host="chat.example:11434")).status == 403


async def test_without_an_origin_nothing_is_wrapped() -> None:
    app = Streaming()

    async def send(message: Message) -> None:
        pass

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    await OriginRule(app, [])(scope_of(host="localhost"), receive, send)
    await OriginRule(app, [])(scope_of(origin="http://localhost", host="localhost"), receive, send)

    assert app.sent_by == [send, send]


async def test_messages_after_the_start_are_passed_on_as_they_are() -> None:
    got: list[Message] = []
    body: Message = {"type": "http.response.body", "body": b"x"}

    async def app(scope: object, receive: object, send: object) -> None:
        await send(body)  # type: ignore[operator]  # an ASGI callable

    async def send(message: Message) -> None:
        got.append(message)

    async def receive() -> Message:
        raise AssertionError("nothing is read")

    await OriginRule(app, [])(scope_of(origin="http://localhost:1"), receive, send)

    assert got[0] is body


async def test_a_star_allows_every_origin() -> None:
    rule = OriginRule(Streaming(), ["*"])

    plain = await ask(rule, origin="null", host="x")
    preflight = await ask(rule, "OPTIONS", origin="https://evil.example", host="x")

    assert plain.headers == {"access-control-allow-origin": "*"}
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-max-age"] == "43200"
    assert "vary" not in preflight.headers


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ("content-type,x-foo", ""),
        ("x-api-key,anthropic-version", ",x-api-key,anthropic-version"),
        ("Anthropic-Dangerous-Direct-Browser-Access", ",Anthropic-Dangerous-Direct-Browser-Access"),
        ("anthropic-beta, x-stainless-new", ",anthropic-beta,x-stainless-new"),
        ("openai-project,idempotency-key", ",openai-project,idempotency-key"),
        ("x-request-id,x-drover-priority,api-key", ",x-request-id,x-drover-priority,api-key"),
        ("traceparent,tracestate,baggage", ",traceparent,tracestate"),
        ("anthropic-,anthropic-ü,x-api-keys,cookie", ""),
    ],
)  # fmt: skip
async def test_a_preflight_allows_what_sdks_send(asked: str, allowed: str) -> None:
    rule = OriginRule(Streaming(), [])

    answer = await ask(
        rule, "OPTIONS", origin="http://localhost", host="x", access_control_request_headers=asked
    )

    headers = answer.headers["access-control-allow-headers"]
    assert headers.partition("X-Stainless-Timeout")[2] == allowed
    assert headers.startswith("Authorization,Content-Type,")


@pytest.mark.parametrize(
    ("method", "origin", "status", "allow"),
    [
        ("OPTIONS", "http://localhost", 204, "HEAD, GET"),
        ("OPTIONS", "https://evil.example", 403, "HEAD, GET"),
        ("PUT", "https://evil.example", 403, "HEAD, GET"),
        ("GET", "https://evil.example", 403, None),
    ],
)
async def test_a_response_without_a_route_has_the_allow_header(
    method: str, origin: str, status: int, allow: str | None
) -> None:
    rule = OriginRule(Streaming(), [], lambda _: ("HEAD", "GET"))

    answer = await ask(rule, method, origin=origin, host="x")

    assert (answer.status, answer.headers.get("allow")) == (status, allow)


async def test_own_headers_are_exposed_if_present() -> None:
    app = Streaming({"X-Drover-Not-Honoured": "seed"})

    answer = await ask(OriginRule(app, []), origin="http://localhost:3000", host="x")

    assert answer.headers["access-control-expose-headers"] == "X-Drover-Not-Honoured,x-request-id"
