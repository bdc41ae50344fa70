"""Endless headers, trailers and request targets, and pipelines of thousands of requests."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.attack.figures import Figures
from tests.attack.rude import connections, request
from tests.attack.scene import attacked

_FLOODS = {
    "many": (b"GET /api/version HTTP/1.1\r\n", b"a: b\r\n" * 20_000),
    "long": (b"GET /api/version HTTP/1.1\r\nx: ", b"x" * 131_072),
    "target": (b"GET /", b"x" * 131_072),
    "method": (b"", b"X" * 131_072),
    "line ends": (b"", b"\r\n" * 65_536),
    "trailers": (
        b"POST /api/chat HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n1\r\n \r\n0\r\n",
        b"a: b\r\n" * 20_000,
    ),
}
_CONNECTIONS = 40
_PIECES = 200


@pytest.mark.parametrize("kind", _FLOODS)
async def test_floods_of_headers(tmp_path: Path, figures: Figures, kind: str) -> None:
    begin, piece = _FLOODS[kind]
    async with attacked(tmp_path, figures) as scene, connections(scene.port, _CONNECTIONS) as floods:

        async def flood(number: int) -> int:
            await floods[number].send(begin)
            for count in range(_PIECES):
                if not await floods[number].send(piece):
                    return count
                await asyncio.sleep(0.02)
            return -1

        taken = await asyncio.gather(*map(flood, range(_CONNECTIONS)))
        figures.notes.append(f"at most {max(taken) * len(piece) // 1024} KiB of it were taken")
        assert -1 not in taken


async def test_pipelines(tmp_path: Path, figures: Figures) -> None:
    """One that answers slowly first, thousands behind it. They come twice: what the second ones leave is what
    leaks.
    """
    async with attacked(tmp_path, figures, rehearsed=_pipeline) as scene:
        await _pipeline(scene.port)


async def _pipeline(port: int) -> None:
    many = request("/api/version", b"", method=b"GET") * 5_000
    async with connections(port, _CONNECTIONS) as floods:
        for each in floods:
            await each.send(request("/api/chat", b"{", length=2) + b" " + many)
        answers = await asyncio.gather(*(each.answer() for each in floods))
        assert {answer.count(b"HTTP/1.1 ") for answer in answers} == {33}
