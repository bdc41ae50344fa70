"""Slowloris on headers: idle connections, and connections that send single bytes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from tests.attack.figures import Figures
from tests.attack.rude import Rude, connections, request
from tests.attack.scene import attacked
from tests.support.waiting import until

_CONNECTIONS = 400
_SECONDS = 15.0


async def test_silent_connections(tmp_path: Path, figures: Figures) -> None:
    async with attacked(tmp_path, figures) as scene, connections(scene.port, _CONNECTIONS) as silent:
        await until(lambda: all(each.is_closed for each in silent), _SECONDS, "the server closes them")


async def test_headers_byte_by_byte(tmp_path: Path, figures: Figures) -> None:
    async with attacked(tmp_path, figures) as scene, connections(scene.port, _CONNECTIONS) as slow:
        for byte in b"GET /api/version HTTP/1.1\r\nx-slow: and so on and on and on and on":
            for each in slow:
                await each.send(bytes([byte]))
            await asyncio.sleep(0.05)
        await until(lambda: all(each.is_closed for each in slow), _SECONDS, "the server closes them")


async def test_headers_byte_by_byte_after_a_response(tmp_path: Path, figures: Figures) -> None:
    """The time to be idle ends with the first byte, and the header's begins."""
    async with attacked(tmp_path, figures) as scene, AsyncExitStack() as stack:
        slow: list[Rude] = []
        for _ in range(_CONNECTIONS // 4):
            (each,) = await stack.enter_async_context(connections(scene.port, 1))
            await each.send(request("/api/version", b"", method=b"GET"))
            assert (await each.answer(b"}")).startswith(b"HTTP/1.1 200")
            slow.append(each)
        for byte in b"GET /api/version HTTP/1.1\r\nx-slow: and so on and on":
            for each in slow:
                await each.send(bytes([byte]))
            await asyncio.sleep(0.05)
        await until(lambda: all(each.is_closed for each in slow), _SECONDS, "the server closes them")
