"""One client with hundreds of connections against twenty polite ones; crowds of streams and requests."""

from __future__ import annotations

import asyncio
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
    async with (
        attacked(tmp_path, figures, _CROWD, _FEW_SLOTS, polite=20) as scene,
        connections(scene.port, 300) as greedy,
    ):
        for _ in range(3):
            for each in greedy:
                await each.send(chat(20, stream=False))
            answers = await asyncio.gather(*(each.answer(b"}") for each in greedy))
        over = await Rude.connect(scene.port)
        await over.send(request("/api/version", b"", method=b"GET"))
        await over.answer(b"}")
        over.close()
    busy = sum(answer.startswith(b"HTTP/1.1 503") for answer in answers)
    figures.notes.append(f"of the greedy client's last {len(answers)} requests {busy} were refused as busy")
    assert {answer[9:12] for answer in answers} <= {b"200", b"503", b""}


async def test_floods_of_connections(tmp_path: Path, figures: Figures) -> None:
    """Each new one, beyond what an address may have, costs its longest idle one."""

    async def connect() -> bool:
        try:
            one = await Rude.connect(scene.port)
        except OSError:
            return False
        await asyncio.sleep(0.5)
        one.close()
        return True

    async with attacked(tmp_path, figures, _CROWD) as scene:
        made = await some_at_a_time([connect() for _ in range(4000)], 1000)
        figures.notes.append(f"{made} of 4000 connections were made")


async def test_a_thousand_streams(tmp_path: Path, figures: Figures) -> None:
    async def one(number: int) -> bool:
        each = streams[number]
        await each.send(chat(30))
        return (await each.answer(b'"done":true')).startswith(b"HTTP/1.1 200")

    flags = ("--max-queue", "1000")
    async with (
        attacked(tmp_path, figures, flags, _LARGE, polite=2) as scene,
        connections(scene.port, 1000) as streams,
    ):
        whole = sum(await asyncio.gather(*map(one, range(1000))))
    assert whole == 1000


async def test_five_thousand_short_requests(tmp_path: Path, figures: Figures) -> None:
    async def one() -> bool:
        each = await Rude.connect(scene.port)
        await each.send(chat(1, stream=False))
        answer = await each.answer(b'"done":true')
        each.close()
        return answer.startswith(b"HTTP/1.1 200")

    async with attacked(tmp_path, figures, SHORT, _LARGE, polite=2) as scene:
        assert await some_at_a_time([one() for _ in range(5000)], 64) == 5000
