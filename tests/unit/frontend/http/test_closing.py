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
_LONG_REQUEST = b"GET /flood HTTP/1.1\r\nhost: localhost\r\n\r\n"
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


def _app_of(connection: BoundedHttp) -> App:
    app = connection.config.app
    assert isinstance(app, App)
    return app


def _has_started(connection: BoundedHttp) -> bool:
    return connection._active is not None and connection._active.response_started and connection._is_serving


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


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_request_after_a_response_that_did_not_announce_the_end_is_answered(is_over: bool) -> None:
    """`is_over`: the response ends between the drain's beginning and its end."""
    async with _connection() as (client, connection, _table):
        app = _app_of(connection)
        client.send(_LONG_REQUEST)
        await until(lambda: _has_started(connection), SECONDS, "the response has begun")
        connection.drain()
        if not is_over:
            connection.shutdown()
        app.go.set()
        assert b"connection: close" not in await asyncio.wait_for(_response(client), SECONDS)
        if is_over:
            connection.shutdown()
        client.send(_REQUEST)
        assert (await asyncio.wait_for(_response(client), SECONDS)).startswith(b"HTTP/1.1 200")
        # Without another request it ends by itself.
        assert await asyncio.wait_for(_response(client), SECONDS) == b""


async def test_a_response_that_has_not_begun_announces_the_end() -> None:
    async with _connection() as (client, connection, _table):
        client.send(_SLOW_REQUEST)
        await until(lambda: connection._is_serving, SECONDS, "the request is served")
        connection.drain()
        _app_of(connection).go.set()
        assert b"connection: close" in await asyncio.wait_for(_response(client), SECONDS)
        assert await asyncio.wait_for(_response(client), SECONDS) == b""


async def test_a_header_without_end_does_not_hold_up_the_end() -> None:
    async with _connection() as (client, connection, _table):
        client.send(_REQUEST[:7])
        await until(lambda: not connection._idle, SECONDS, "the request has begun")
        connection.shutdown()
        assert await asyncio.wait_for(_response(client), SECONDS) == b""


async def test_a_header_without_end_makes_room() -> None:
    async with _connection(limit=1) as (client, connection, table):
        client.send(_REQUEST[:7])
        await until(lambda: not connection._idle, SECONDS, "the request has begun")
        _make_room(connection, table)
        assert await asyncio.wait_for(_response(client), SECONDS) == b""


@pytest.mark.parametrize("close", [_shut_down, _time_out, _make_room])
async def test_an_idle_connection_is_closed(close: _Close) -> None:
    async with _connection(limit=1) as (client, connection, table):
        close(connection, table)
        assert await asyncio.wait_for(_response(client), SECONDS) == b""
