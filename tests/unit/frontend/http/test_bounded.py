"""Limits of connections on a real server, with and without TLS: timeouts, sizes, pipelining, their number."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from functools import partial
from pathlib import Path

import pytest

from frontend.http.bounded import BoundedHttp
from tests.support.certificates import certificate_of_localhost
from tests.support.waiting import until
from tests.unit.frontend.http.bounded_server import SECONDS, SIZES, bounded_server

# Less than the time after which an idle connection is closed.
_SOON_SECONDS = 30.0
_GET = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
_GET_LARGE, _GET_LARGER = [b"GET %b HTTP/1.1\r\nhost: a\r\n\r\n" % path.encode() for path in SIZES]
_POST = b"POST / HTTP/1.1\r\nhost: a\r\n"
_CHUNKED = _POST + b"transfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate_of_localhost(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(autouse=True, params=["http", "https"])
def scheme(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, certificate: tuple[Path, Path]
) -> str:
    """Every test is run with and without TLS."""
    if request.param == "https":
        monkeypatch.setattr(f"{__name__}.bounded_server", partial(bounded_server, tls=certificate))
    return str(request.param)


async def test_a_connection_without_a_request_is_closed() -> None:
    async with bounded_server(header_seconds=0.2) as server:
        assert await server.exchange() == b""


@pytest.mark.parametrize("begun", [b"G", b"GET / HT", _POST, _POST + b"x: "])
async def test_an_incomplete_header_gets_408_after_the_timeout(begun: bytes) -> None:
    async with bounded_server(header_seconds=0.2) as server:
        assert (await server.exchange(begun)).startswith(b"HTTP/1.1 408 ")


async def test_the_header_timeout_does_not_restart_with_each_byte() -> None:
    async with bounded_server(header_seconds=0.3) as server:
        client = await server.connect()
        client.send(b"GET / HTTP/1.1\r\nx: ")
        answer = asyncio.create_task(client.rest())
        while not answer.done():
            client.send(b"x")
            await asyncio.wait({answer}, timeout=0.02)
        assert answer.result()[:12] in (b"HTTP/1.1 408", b"")


async def test_the_second_request_of_a_connection_has_a_header_timeout_too() -> None:
    async with bounded_server(header_seconds=0.2) as server:
        answer = await server.exchange(_GET, b"GET / HTTP/1.1\r\nx: ")
    assert b"read 0" in answer
    assert b"HTTP/1.1 408 " in answer


async def test_the_header_timeout_does_not_apply_to_the_body() -> None:
    async with bounded_server(header_seconds=0.1) as server:
        client = await server.connect()
        client.send(_POST + b"content-length: 4\r\n\r\n")
        for _ in range(4):
            await asyncio.sleep(0.1)
            client.send(b"x")
        assert b"read 4" in await asyncio.wait_for(client.reader.readuntil(b"read 4"), SECONDS)


async def test_the_rest_of_a_body_has_a_timeout_once_the_response_is_sent() -> None:
    async with bounded_server(header_seconds=0.2) as server:
        client = await server.connect()
        client.send(b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n")
        await client.reader.readuntil(b"read 0")
        answer = asyncio.create_task(client.rest())
        while not answer.done():
            client.send(b"x")
            await asyncio.wait({answer}, timeout=0.02)
        assert b"HTTP/1.1" not in answer.result()


@pytest.mark.parametrize(
    "header",
    [
        b"GET / HTTP/1.1\r\nx: " + b"x" * 4000,
        b"GET / HTTP/1.1\r\nx: " + b"x" * 4000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 1000,
        b"GET /" + b"x" * 4000,
        b"GET /" + b"x" * 4000 + b" HTTP/1.1\r\n\r\n",
        b"x" * 10_000,
    ],
    ids=["endless field", "long field", "many fields", "endless target", "long target", "no HTTP"],
)
async def test_headers_above_the_limit_get_431(header: bytes) -> None:
    async with bounded_server(header_bytes=2000) as server:
        answer = await server.exchange(header)
        assert answer.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        assert answer.startswith(b"HTTP/1.1 431 ") or header.startswith(b"xx")
        assert server.app.served == []


async def test_headers_up_to_the_limit_are_read() -> None:
    async with bounded_server(header_bytes=2000) as server:
        answer = await server.exchange(
            b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: " + b"x" * 1300 + b"\r\n\r\n"
        )
        assert b"read 0" in answer


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"1;" + b"x" * 4000, b"431"),
        (b"1\r\nx\r\n0\r\nx: " + b"x" * 4000, b"431"),
        (b"1\r\nx\r\n0\r\n" + b"a: b\r\n" * 1000, b"431"),
        (b"1\r\nx\r\n" * 20_000, b"400"),
        (b"zz\r\n", b"400"),
    ],
    ids=["extension", "trailer", "trailers", "many chunks", "no chunk"],
)
async def test_the_framing_of_a_chunked_body_is_limited(body: bytes, status: bytes) -> None:
    async with bounded_server(header_bytes=2000) as server:
        answer = await server.exchange(_CHUNKED, body)
        assert answer.startswith(b"HTTP/1.1 %b " % status)
        await until(lambda: server.app.disconnects == 1, SECONDS, "the application sees the disconnect")


async def test_trailers_are_not_passed_on_as_headers() -> None:
    async with bounded_server() as server:
        answer = await server.exchange(
            _POST
            + b"connection: close\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-api-key: k\r\n\r\n"
        )
        assert b"read 1" in answer
        assert not [name for name, _ in server.app.headers if name == b"x-api-key"]


async def test_a_body_in_ordinary_chunks_is_read() -> None:
    async with bounded_server(header_bytes=2000) as server:
        client = await server.connect()
        client.send(_CHUNKED + b"80\r\n" + b"x" * 128 + b"\r\n")
        for _ in range(200):
            client.send((b"80\r\n" + b"x" * 128 + b"\r\n") * 100)
            await client.writer.drain()
        client.send(b"0\r\n\r\n")
        await asyncio.wait_for(client.reader.readuntil(b"read %d" % (128 * 20_001)), SECONDS)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with bounded_server() as server:
        client = await server.connect()
        client.send(_GET * 30)
        for _ in range(30):
            await asyncio.wait_for(client.reader.readuntil(b"read 0\r\n0\r\n\r\n"), SECONDS)


async def test_a_body_does_not_count_as_framing_of_the_next_pipelined_request() -> None:
    async with bounded_server(header_bytes=2000) as server:
        client = await server.connect()
        client.send(_POST + b"content-length: 10000\r\n\r\n" + b"x" * 10_000)
        client.send(_POST + b"content-length: 4\r\n\r\nab")
        await client.reader.readuntil(b"read 10000\r\n0\r\n\r\n")
        client.send(b"cd")
        await asyncio.wait_for(client.reader.readuntil(b"read 4"), SECONDS)


async def test_pipelined_requests_above_the_limit_are_refused() -> None:
    async with bounded_server() as server:
        client = await server.connect()
        client.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n" + _GET * 5_000)
        await until(lambda: bool(server.app.served), SECONDS, "the first request is there")
        server.app.go.set()
        answer = await client.rest()
        assert answer.count(b"HTTP/1.1 200") == 33 == len(server.app.served)


async def test_garbage_after_a_request_does_not_spoil_its_response() -> None:
    async with bounded_server() as server:
        client = await server.connect()
        client.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\ngarbage\r\n\r\n")
        await until(lambda: bool(server.app.served), SECONDS, "the first request is there")
        server.app.go.set()
        answer = await client.rest()
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.endswith(b"read 0\r\n0\r\n\r\n")


async def test_a_disconnect_with_pipelined_requests_cancels_the_running_one() -> None:
    async with bounded_server() as server:
        client = await server.connect()
        client.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n" + _GET)
        await until(lambda: bool(server.app.served), SECONDS, "the first request is there")
        client.writer.transport.abort()
        await until(lambda: server.app.disconnects == 1, SECONDS, "the application sees the disconnect")


async def test_a_client_that_does_not_read_is_disconnected() -> None:
    async with bounded_server(write_seconds=0.2) as server:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", server.port))
        await loop.sock_sendall(client, b"GET /flood HTTP/1.1\r\nhost: a\r\n\r\n")

        async def is_cut() -> bool:
            with client.dup() as probe:
                state = probe.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            return state != 1

        await until(is_cut, SECONDS, "the connection is closed")
        client.close()


async def test_a_client_that_reads_slowly_is_served() -> None:
    async with bounded_server(write_seconds=0.2) as server:
        client = await server.connect()
        client.send(b"GET /flood HTTP/1.1\r\nhost: a\r\n\r\n")
        for _ in range(30):
            await client.reader.readexactly(400_000)
            await asyncio.sleep(0.05)


async def test_the_write_timeout_starts_anew_with_each_response() -> None:
    async with bounded_server(write_seconds=1.0) as server:
        client = await server.connect(receive_buffer=65536)
        began = asyncio.get_running_loop().time()
        client.send(_GET_LARGE)
        await client.take("/large")
        await asyncio.sleep(began + 0.6 - asyncio.get_running_loop().time())
        client.send(_GET_LARGER)
        await asyncio.sleep(began + 1.3 - asyncio.get_running_loop().time())
        await client.take("/larger")


@pytest.mark.parametrize("reset", [False, True])
async def test_a_closed_connection_is_freed(reset: bool) -> None:
    """A timer of the idle connection would hold it, with its last request."""
    async with bounded_server() as server:
        client = await server.connect()
        client.send(_GET)
        await client.reader.readuntil(b"read 0\r\n0\r\n\r\n")
        if reset:
            made = client.writer.get_extra_info("socket")
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        address = client.writer.get_extra_info("sockname")
        assert _is_kept(address)

        client.writer.transport.abort()

        await until(lambda: not _is_kept(address), _SOON_SECONDS, "the connection is freed")


def _is_kept(address: tuple[str, int]) -> bool:
    gc.collect()
    return any(isinstance(each, BoundedHttp) and each.client == address for each in gc.get_objects())


async def test_connections_above_the_limit_of_an_address_get_503() -> None:
    async with bounded_server(max_per_address=3) as server:
        busy = [await server.connect("127.0.0.2") for _ in range(3)]
        for each in busy:
            each.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        await until(lambda: len(server.app.served) == 3, SECONDS, "all are busy")
        refused = await server.connect("127.0.0.2")
        answer = await refused.rest()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in answer
        other = await server.connect("127.0.0.3")
        other.send(_GET)
        await other.reader.readuntil(b"read 0")
        server.app.go.set()
        for each in busy:
            await each.reader.readuntil(b"read 0")


async def test_the_longest_idle_connection_is_closed_for_a_new_one() -> None:
    async with bounded_server(max_connections=4) as server:
        idle = [await server.connect("127.0.0.2") for _ in range(3)]
        busy = await server.connect("127.0.0.3")
        busy.send(b"GET /slow HTTP/1.1\r\nhost: a\r\n\r\n")
        await until(lambda: bool(server.app.served), SECONDS, "it is busy")
        newest = await server.connect("127.0.0.4")
        newest.send(_GET)
        await newest.reader.readuntil(b"read 0")
        assert await idle[0].rest() == b""
        server.app.go.set()
        await busy.reader.readuntil(b"read 0")


async def test_a_connection_whose_response_is_still_being_sent_is_not_closed() -> None:
    async with bounded_server(max_connections=2) as server:
        slow, idle = await server.connect("127.0.0.2"), await server.connect("127.0.0.2")
        slow.send(_GET_LARGE)
        await until(lambda: server.app.served == ["/large"], SECONDS, "it is answered")
        idle.send(_GET)
        await idle.reader.readuntil(b"read 0\r\n0\r\n\r\n")
        newest = await server.connect("127.0.0.4")
        newest.send(_GET)
        await newest.reader.readuntil(b"read 0")
        assert await idle.rest() == b""
        await slow.take("/large")


async def test_a_proxy_has_no_limit_per_address() -> None:
    async with bounded_server(proxy="127.0.0.2", max_per_address=1) as server:
        first, second = [await server.connect("127.0.0.2") for _ in range(2)]
        for each in (first, second):
            each.send(_GET)
            await each.reader.readuntil(b"read 0")
