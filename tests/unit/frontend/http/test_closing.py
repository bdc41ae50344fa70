"""A connection is closed between requests only: one that has just arrived is answered."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState

from frontend.http.bounded import BoundedHttp
from frontend.http.connection_table import ConnectionTable
from tests.fakes.http_server import WIDE_LIMITS
from tests.support.waiting import until
from tests.unit.frontend.http.bounded_server import SECONDS, App

_REQUEST = b"GET /first HTTP/1.1\r\nhost: localhost\r\n\r\n"
_SLOW_REQUEST = b"GET /slow HTTP/1.1\r\nhost: localhost\r\n\r\n"
_Close = Callable[[BoundedHttp, ConnectionTable], None]


@asynccontextmanager
async def _connection(limit: int = 10) -> AsyncIterator[tuple[socket.socket, BoundedHttp, ConnectionTable]]:
    """An idle connection: its client, which is asked in the same turn of the loop as its server."""
    table = ConnectionTable(limit, limit, lambda address: False)
    config = Config(App(), log_config=None, ws="none")
    config.load()
    made: list[BoundedHttp] = []

    def protocol() -> BoundedHttp:
        made.append(BoundedHttp(WIDE_LIMITS, table, config, ServerState(), {}))
        return made[-1]

    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "127.0.0.1", 0)
    with socket.socket() as client:
        client.setblocking(False)
        await loop.sock_connect(client, server.sockets[0].getsockname())
        await loop.sock_sendall(client, _REQUEST)
        assert (await asyncio.wait_for(_response(client), SECONDS)).startswith(b"HTTP/1.1 200")
        await until(lambda: made[0].can_close, SECONDS, "the connection is idle")
        yield client, made[0], table
    server.close()


async def _response(client: socket.socket) -> bytes:
    """All up to the end of a response, or to the end of the connection."""
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        if not (more := await asyncio.get_running_loop().sock_recv(client, 65536)):
            break
        data += more
    return data


def _shut_down(connection: BoundedHttp, table: ConnectionTable) -> None:
    connection.shutdown()


def _time_out(connection: BoundedHttp, table: ConnectionTable) -> None:
    connection.timeout_keep_alive_handler()


def _make_room(connection: BoundedHttp, table: ConnectionTable) -> None:
    class Newcomer:
        address = connection.address
        can_close = True

        def close_idle(self) -> None:
            raise AssertionError("it is not idle")

    table.admit(Newcomer())


@pytest.mark.parametrize("close", [_shut_down, _time_out, _make_room])
async def test_a_request_that_has_arrived_is_answered(close: _Close) -> None:
    async with _connection(limit=1) as (client, connection, table):
        assert client.send(_REQUEST) == len(_REQUEST)
        close(connection, table)
        assert (await asyncio.wait_for(_response(client), SECONDS)).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("close", [_shut_down, _time_out])
@pytest.mark.parametrize("parts", [(_REQUEST[:7], _REQUEST[7:]), (_REQUEST[:-2], _REQUEST[-2:])])
async def test_a_request_that_has_begun_is_answered(close: _Close, parts: Sequence[bytes]) -> None:
    async with _connection() as (client, connection, table):
        client.send(parts[0])
        await until(lambda: not connection._idle, SECONDS, "the request has begun")
        close(connection, table)
        client.send(parts[1])
        assert (await asyncio.wait_for(_response(client), SECONDS)).startswith(b"HTTP/1.1 200")


async def test_a_request_after_a_response_that_did_not_announce_the_end_is_answered() -> None:
    async with _connection() as (client, connection, _table):
        client.send(_SLOW_REQUEST)
        await until(lambda: connection._is_serving, SECONDS, "the request is served")
        connection.shutdown()
        connection.config.app.go.set()  # type: ignore[union-attr]  # it is the App that the helper made
        assert b"connection: close" not in await asyncio.wait_for(_response(client), SECONDS)
        client.send(_REQUEST)
        assert (await asyncio.wait_for(_response(client), SECONDS)).startswith(b"HTTP/1.1 200")
        # Without another request it ends by itself.
        assert await asyncio.wait_for(_response(client), SECONDS) == b""


@pytest.mark.parametrize("close", [_shut_down, _time_out, _make_room])
async def test_an_idle_connection_is_closed(close: _Close) -> None:
    async with _connection(limit=1) as (client, connection, table):
        close(connection, table)
        assert await asyncio.wait_for(_response(client), SECONDS) == b""
