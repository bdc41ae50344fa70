"""HTTPS: what clients see of it, and clients that speak something else."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from pathlib import Path

import pytest

from drover.tls.files import TlsFiles
from drover.tls.reload import Reloaded
from frontend.http.tls import server_context
from tests.support.certificates import Authority, certificate_of_localhost, replace
from tests.unit.frontend.http.bounded_server import SECONDS, Client, Server, bounded_server

_GET = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate_of_localhost(tmp_path_factory.mktemp("certificate"))


async def _plain(server: Server) -> Client:
    client = Client(*await asyncio.open_connection("127.0.0.1", server.port))
    server.clients.append(client)
    return client


async def test_http_without_tls_gets_a_readable_answer(certificate: tuple[Path, Path]) -> None:
    async with bounded_server(tls=certificate) as server:
        client = await _plain(server)
        client.send(b"POST /api/chat HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello")
        answer = await client.rest()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"https://" in answer
    assert server.app.served == []


@pytest.mark.parametrize(
    "data", [b"\x00" * 2000, b"\x16\x03\x01\xff\xff" + b"x" * 70_000, b"\x16" + b"\x00" * 50]
)
async def test_what_is_not_tls_is_closed_without_a_traceback(
    data: bytes, certificate: tuple[Path, Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with bounded_server(tls=certificate) as server:
        for _ in range(3):
            client = await _plain(server)
            client.send(data)
            assert b"HTTP" not in await client.rest()
        assert b"read 0" in await server.exchange(_GET)

    (record,) = [record for record in caplog.records if record.name == "drover.frontend"]
    assert record.getMessage() == "TLS handshake failed"
    assert getattr(record, "fields", {})["client"] == "127.0.0.1"
    assert record.exc_info is None
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


async def test_an_unfinished_handshake_has_the_headers_timeout(certificate: tuple[Path, Path]) -> None:
    async with bounded_server(tls=certificate, header_seconds=0.2) as server:
        silent, begun = await _plain(server), await _plain(server)
        begun.send(b"\x16\x03\x01\x02\x00\x01")
        assert await silent.rest() == b""
        assert await begun.rest() == b""


async def test_an_unfinished_handshake_counts_as_a_connection(certificate: tuple[Path, Path]) -> None:
    async with bounded_server(tls=certificate, max_connections=2) as server:
        first, _ = await _plain(server), await _plain(server)
        assert b"read 0" in await server.exchange(_GET)
        assert await first.rest() == b"", "the longest idle one was closed for the new one"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_an_old_version_of_tls_is_refused(certificate: tuple[Path, Path]) -> None:
    async with bounded_server(tls=certificate) as server:
        assert server.tls is not None
        server.tls.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        server.tls.maximum_version = ssl.TLSVersion.TLSv1_1
        server.tls.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await server.exchange(_GET)


async def test_http_1_is_negotiated(certificate: tuple[Path, Path]) -> None:
    async with bounded_server(tls=certificate) as server:
        assert server.tls is not None
        server.tls.set_alpn_protocols(["h2", "http/1.1"])
        client = await server.connect()
        found = client.writer.get_extra_info("ssl_object")

    assert found.selected_alpn_protocol() == "http/1.1"
    assert found.version() == "TLSv1.3"


async def test_a_client_that_ends_its_side_is_closed(certificate: tuple[Path, Path]) -> None:
    """asyncio's client sends close_notify and waits for the server's."""
    async with bounded_server(tls=certificate) as server:
        client = await server.connect()
        client.send(_GET.replace(b"connection: close\r\n", b""))
        await client.reader.readuntil(b"read 0\r\n0\r\n\r\n")
        client.writer.close()
        await asyncio.wait_for(client.writer.wait_closed(), SECONDS)


async def test_a_body_larger_than_the_sockets_buffers_arrives(certificate: tuple[Path, Path]) -> None:
    size = 3_000_000
    async with bounded_server(tls=certificate) as server:
        answer = await server.exchange(
            b"POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % size,
            b"x" * size,
        )
    assert b"read %d" % size in answer


async def test_the_end_of_a_response_differs_from_a_cut(certificate: tuple[Path, Path]) -> None:
    """By close_notify."""
    async with bounded_server(tls=certificate) as server:
        assert server.tls is not None
        tls = server.tls

        def ask() -> bytes:
            answer = b""
            with (
                socket.create_connection(("127.0.0.1", server.port)) as raw,
                tls.wrap_socket(raw, server_hostname="localhost", suppress_ragged_eofs=False) as client,
            ):
                client.sendall(_GET)
                while data := client.recv(4096):
                    answer += data
            return answer

        assert b"read 0" in await asyncio.to_thread(ask)


async def test_new_connections_get_the_new_certificate_and_old_ones_go_on(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    files = authority.sign(tmp_path / "now")
    files = TlsFiles(files.certificate, files.key)
    contexts = Reloaded(files, "server", server_context, "https")
    before = contexts.current
    new = Authority.make(tmp_path, "other").sign(tmp_path / "next")
    replace(files, TlsFiles(new.certificate, new.key))

    contexts.poll()
    assert contexts.current is before, "they may still be being written"
    contexts.poll()
    assert contexts.current is not before
    assert contexts.version == 1


async def test_a_connection_that_is_reset_in_its_handshake_is_freed(certificate: tuple[Path, Path]) -> None:
    async with bounded_server(tls=certificate, max_connections=1) as server:
        client = await _plain(server)
        client.send(b"\x16\x03\x01")
        client.writer.transport.abort()
        assert b"read 0" in await server.exchange(_GET)
