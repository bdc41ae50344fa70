"""How requests are parsed: raw bytes over a real socket, to an application that echoes the parsed request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from tests.fakes.http_server import WIDE_LIMITS, serving

MAX_HEAD_BYTES = WIDE_LIMITS.header_bytes
_SECONDS = 30.0
# As curl sends it with --http2.
_H2C = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
_UPGRADES = {
    "h2c": _H2C,
    "h2c and keep-alive": "Connection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n",
    "websocket": "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZQ==\r\n",
    "another": "CONNECTION: UPGRADE\r\nupgrade: TLS/1.0, IRC/6.9\r\n",
}


async def _echo(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    message: Message = {"more_body": True}
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    parsed = {
        "method": scope["method"],
        "path": scope["path"],
        "headers": {name.decode(): value.decode() for name, value in scope["headers"]},
        "body": body.decode(),
    }
    data = json.dumps(parsed).encode()
    length = [(b"content-length", b"%d" % len(data))]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": data})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(_echo) as port:
        yield port


async def _sent(port: int, *pieces: bytes) -> bytes:
    """Send the pieces; return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()
    answer = await asyncio.wait_for(reader.read(), _SECONDS)
    writer.close()
    return answer


def _bodies(answer: bytes) -> list[dict[str, Any]]:
    """The JSON bodies of the responses, which contain no line ends themselves."""
    return [
        json.loads(part.partition("\r\n\r\n")[2]) for part in answer.decode().split("HTTP/1.1 200 OK")[1:]
    ]


def _head(extra: str, method: str = "POST", path: str = "/api/chat?x=1") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{extra}\r\n".encode()


@pytest.mark.parametrize("upgrade", _UPGRADES.values(), ids=_UPGRADES)
@pytest.mark.parametrize(
    ("length", "body"),
    [
        ("Content-Length: 7\r\n", b'{"a":1}'),
        ("Transfer-Encoding: chunked\r\n", b'3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n'),
    ],
    ids=["whole", "chunked"],
)
async def test_an_upgrade_that_is_not_offered_is_ignored(
    port: int, upgrade: str, length: str, body: bytes
) -> None:
    last = _head("Connection: close\r\n", "GET")
    first, second = _bodies(await _sent(port, _head(upgrade + length) + body + last))

    assert (first["method"], first["path"], first["body"]) == ("POST", "/api/chat", '{"a":1}')
    assert not {"upgrade", "http2-settings"} & set(first["headers"])
    assert second["method"] == "GET"


async def test_a_body_after_an_upgrade_may_come_later_and_in_pieces(port: int) -> None:
    head = _head(_H2C.replace("Upgrade, ", "close, Upgrade, ") + "Content-Length: 300000\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in (head[:40], head[40:-2], head[-2:], b"x" * 100_000, b"x" * 200_000):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0)
    (got,) = _bodies(await asyncio.wait_for(reader.read(), _SECONDS))
    writer.close()

    assert len(got["body"]) == 300_000


async def test_each_request_of_a_connection_may_ask_for_an_upgrade(port: int) -> None:
    """Java's client repeats the header until it has the first response."""
    request = _head(_H2C + "Content-Length: 2\r\n") + b"{}"
    answers = _bodies(await _sent(port, request * 20 + _head("Connection: close\r\n", "GET")))

    assert [each["body"] for each in answers] == ["{}"] * 20 + [""]


@pytest.mark.parametrize("method", ["FOO", "get", "X-Y", "PROPFIND", "CONNECT"])
async def test_every_method_reaches_the_routes(port: int, method: str) -> None:
    body = b"" if method == "CONNECT" else b"{}"
    length = f"Content-Length: {len(body)}\r\n" if body else ""
    request = _head(length, method) + body
    first, second = _bodies(await _sent(port, request + _head("Connection: close\r\n", "GET")))

    assert (first["method"], first["body"]) == (method, body.decode())
    assert second["method"] == "GET"


async def test_an_unknown_method_with_an_upgrade_reaches_the_routes(port: int) -> None:
    extra = _H2C.replace("Upgrade, ", "close, Upgrade, ") + "Content-Length: 2\r\n"
    (got,) = _bodies(await _sent(port, _head(extra, "FOO") + b"{}"))
    assert (got["method"], got["body"]) == ("FOO", "{}")


async def test_connect_to_an_address_reaches_the_routes_as_root(port: int) -> None:
    (got,) = _bodies(await _sent(port, _head("Connection: close\r\n", "CONNECT", "example.com:443")))
    assert (got["method"], got["path"]) == ("CONNECT", "/")


_LONG = b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: " + b"a" * MAX_HEAD_BYTES


@pytest.mark.parametrize(
    ("request_bytes", "status", "text"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "400 Bad Request", ": missing required Host header"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", "400 Bad Request", ": too many Host headers"),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", "400 Bad Request", ": too many Host headers"),
        (_LONG + b"\r\n\r\n", "431 Request Header Fields Too Large", ""),
        (_LONG, "431 Request Header Fields Too Large", ""),
        (b"GET /" + b"a" * MAX_HEAD_BYTES, "431 Request Header Fields Too Large", ""),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200_000, "431 Request Header Fields Too Large", ""),
        (b"\x16\x03\x01\x02\x00\x01\x00", "400 Bad Request", ""),
        (b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", "400 Bad Request", ""),
        (b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", "400 Bad Request", ""),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", "400 Bad Request", ""),
    ],
    ids=[
        "no host", "two hosts", "two hosts in 1.0", "header", "open header", "path", "many headers", "TLS",
        "version", "no path", "length",
    ],
)  # fmt: skip
async def test_malformed_requests_are_refused_before_the_routes(
    port: int, request_bytes: bytes, status: str, text: str
) -> None:
    head, _, body = (await _sent(port, request_bytes)).decode().partition("\r\n\r\n")

    lines = head.split("\r\n")
    assert lines[0] == f"HTTP/1.1 {status}"
    assert {"connection: close", "content-type: text/plain; charset=utf-8"} <= set(lines)
    assert body == status + text


async def test_http_1_0_needs_no_host(port: int) -> None:
    assert _bodies(await _sent(port, b"GET /x HTTP/1.0\r\n\r\n"))[0]["path"] == "/x"


async def test_a_long_body_does_not_count_as_header(port: int) -> None:
    size = 2 * MAX_HEAD_BYTES
    answer = await _sent(port, _head(f"Content-Length: {size}\r\nConnection: close\r\n") + b"x" * size)
    assert len(_bodies(answer)[0]["body"]) == size


async def test_garbage_after_a_request_does_not_cut_its_response(port: int) -> None:
    answers = _bodies(await _sent(port, _head("", "GET") + b"\x16\x03\x01\x02 garbage\r\n\r\n"))
    assert [each["method"] for each in answers] == ["GET"]
