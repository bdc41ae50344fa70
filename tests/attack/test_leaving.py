"""Readers that stop, and resets at each phase of a request."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.attack.figures import Figures
from tests.attack.rude import Rude, chat, connections, request, some_at_a_time
from tests.attack.scene import SHORT, attacked
from tests.support.waiting import until

_SECONDS = 60.0
_FAST = (
    "--sim-running-limit", "64", "--sim-answer-tokens-max", "4000000", "--sim-decode-step-base-ms", "0.1",
    "--sim-decode-step-per-running-ms", "0",
)  # fmt: skip
_SLOW = (
    "--sim-running-limit", "4", "--sim-answer-tokens-max", "4000000",
    "--sim-prefill-tokens-per-second", "2000", "--sim-decode-step-base-ms", "20",
)  # fmt: skip
_PATHS = ("/api/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses")
_PHASES = ("connected", "header", "body", "sent", "queued", "first", "streaming", "pipelined")


async def test_readers_that_stop(tmp_path: Path, figures: Figures) -> None:
    """Their slots are free when they have taken nothing for so long as the frontend waits. They come twice:
    what the second ones leave is what leaks.
    """
    async with attacked(tmp_path, figures, SHORT, _FAST, rehearsed=_stop_reading) as scene:
        running = asyncio.create_task(
            until(lambda: scene.fleet.running(0) >= 16, _SECONDS, "they run"), name="see them run"
        )
        await _stop_reading(scene.port)
        await running


async def _stop_reading(port: int) -> None:
    """Until all are cut off."""
    async with connections(port, 16, receive_buffer=4096) as stopped:
        for each in stopped:
            await each.send(chat(3_000_000, logprobs=True, top_logprobs=20))
        await until(lambda: all(each.is_closed for each in stopped), _SECONDS, "they are cut off")


async def test_readers_that_ask_for_much_and_read_nothing(tmp_path: Path, figures: Figures) -> None:
    """Long answers in one piece, several on each connection."""
    ask = request("/openapi.json", b"", method=b"GET")
    async with (
        attacked(tmp_path, figures) as scene,
        connections(scene.port, 100, receive_buffer=4096) as stopped,
    ):
        for each in stopped:
            await each.send(ask * 16)
        await until(lambda: all(each.is_closed for each in stopped), _SECONDS, "they are cut off")


@pytest.mark.parametrize("phase", _PHASES)
async def test_resets(tmp_path: Path, figures: Figures, phase: str) -> None:
    """They come twice: what the second ones leave is what leaks."""
    dice = random.Random(phase)

    async def one(port: int, number: int) -> bool:
        client = await Rude.connect(port)
        path = _PATHS[number % len(_PATHS)]
        whole = chat(2_000, path=path, max_tokens=2_000, input="x")
        match phase:
            case "connected":
                pass
            case "header":
                await client.send(whole[: dice.randrange(1, 40)])
            case "body":
                await client.send(whole[: -dice.randrange(1, 20)])
            case "sent":
                await client.send(whole)
            case "queued":
                await client.send(whole)
                await asyncio.sleep(dice.random() / 4)
            case "first":
                await client.send(whole)
                await client.answer(b"HTTP/1.1")
            case "streaming":
                await client.send(whole)
                await client.answer(b"\n\r\n")
                await asyncio.sleep(dice.random() / 4)
            case "pipelined":
                await client.send(whole * 3)
                await asyncio.sleep(dice.random() / 4)
        client.reset()
        return True

    async def all_of_them(port: int) -> None:
        assert await some_at_a_time([one(port, number) for number in range(200)], 40) == 200

    workers = _SLOW if phase == "queued" else _FAST
    async with attacked(tmp_path, figures, SHORT, workers, polite=4, rehearsed=all_of_them) as scene:
        await all_of_them(scene.port)
