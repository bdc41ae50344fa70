"""One client with hundreds of connections next to twenty well-behaved ones; many streams and requests.

Each crowd comes twice: what the second one leaves is what leaks.
"""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from tests.attack.figures import Figures
from tests.attack.rude import Rude, chat, connections, request, some_at_a_time
from tests.attack.scene import SHORT, attacked

_FEW_SLOTS = ("--sim-running-limit", "16", "--sim-answer-tokens-max", "4000000")
_CROWD = (*SHORT, "--max-connections-per-address", "300", "--max-queue", "64")
_LARGE = ("--sim-running-limit", "512", "--sim-answer-tokens-max", "4000000")


async def test_one_client_with_hundreds_of_connections_against_twenty(
    tmp_path: Path, figures: Figures
) -> None:
    """All that it may have ask for answers at once, again and again; more are refused."""
    async with attacked(tmp_path, figures, _CROWD, _FEW_SLOTS, polite=20, rehearsed=_greed) as scene:
        answers = await _greed(scene.port)
    busy = sum(answer.startswith(b"HTTP/1.1 503") for answer in answers)
    figures.notes.append(f"of the greedy client's last {len(answers)} requests {busy} were refused as busy")
    assert {answer[9:12] for answer in answers} <= {b"200", b"503", b""}


async def _greed(port: int) -> list[bytes]:
    """The answers to each connection's last request."""
    async with connections(port, 300) as greedy:
        for _ in range(3):
            for each in greedy:
                await each.send(chat(20, stream=False))
            answers = await asyncio.gather(*(each.answer(b"}") for each in greedy))
        over = await Rude.connect(port)
        await over.send(request("/api/version", b"", method=b"GET"))
        await over.answer(b"}")
        over.close()
    return answers


async def test_floods_of_connections(tmp_path: Path, figures: Figures) -> None:
    """Each new one, beyond what an address may have, costs its longest idle one."""
    async with attacked(tmp_path, figures, _CROWD, rehearsed=_flood) as scene:
        made = await _flood(scene.port)
        figures.notes.append(f"{made} of 4000 connections were made")


async def _flood(port: int) -> int:
    async def connect() -> bool:
        try:
            one = await Rude.connect(port)
        except OSError:
            return False
        await asyncio.sleep(0.5)
        one.close()
        return True

    return await some_at_a_time([connect() for _ in range(4000)], 1000)


async def test_a_thousand_streams(tmp_path: Path, figures: Figures) -> None:
    flags = ("--max-queue", "1000")
    async with attacked(tmp_path, figures, flags, _LARGE, polite=2, rehearsed=_streams) as scene:
        whole = await _streams(scene.port)
    assert whole == 1000


async def _streams(port: int) -> int:
    """How many had a whole answer."""

    async def one(each: Rude) -> bool:
        await each.send(chat(30))
        return (await each.answer(b'"done":true')).startswith(b"HTTP/1.1 200")

    async with connections(port, 1000) as streams:
        return sum(await asyncio.gather(*map(one, streams)))


async def test_five_thousand_short_requests(tmp_path: Path, figures: Figures) -> None:
    rehearsed = partial(_short_requests, 1000)
    async with attacked(tmp_path, figures, SHORT, _LARGE, polite=2, rehearsed=rehearsed) as scene:
        assert await _short_requests(5000, scene.port) == 5000


async def _short_requests(count: int, port: int) -> int:
    """How many had a whole answer."""

    async def one() -> bool:
        each = await Rude.connect(port)
        await each.send(chat(1, stream=False))
        answer = await each.answer(b'"done":true')
        each.close()
        return answer.startswith(b"HTTP/1.1 200")

    return await some_at_a_time([one() for _ in range(count)], 64)
