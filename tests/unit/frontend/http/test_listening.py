"""Closing of a listening socket: which connections are accepted and which refused."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator

import pytest

from frontend.http.listening import last_connections


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.setblocking(False)
        yield made


async def test_queued_connections_are_accepted(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()) as client:
        accepted = await last_connections([listener])

        assert [each.getpeername() for each in accepted] == [client.getsockname()]
    for each in accepted:
        each.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can filter packets of a listening socket")
async def test_later_connections_are_refused_and_not_reset(listener: socket.socket) -> None:
    ending = asyncio.create_task(last_connections([listener]))
    await asyncio.sleep(0)
    with socket.socket() as late:
        late.setblocking(False)
        connecting = asyncio.create_task(
            asyncio.get_running_loop().sock_connect(late, listener.getsockname())
        )
        assert await ending == []
        listener.close()

        with pytest.raises(ConnectionRefusedError):
            await connecting
