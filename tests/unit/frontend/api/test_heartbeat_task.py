"""Heartbeats: none after `stop` or the block, and a failed heartbeat is raised."""

from __future__ import annotations

import asyncio

import pytest

from frontend.api.response import Heartbeats

_OFTEN = 0.001


class _Beats:
    def __init__(self, failure: Exception | None = None) -> None:
        self.count = 0
        self.first = asyncio.Event()
        self._failure = failure

    async def __call__(self) -> None:
        self.count += 1
        self.first.set()
        if self._failure is not None:
            raise self._failure


async def _turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(_OFTEN)


async def test_no_heartbeat_after_stop() -> None:
    beats = _Beats()
    async with asyncio.timeout(30), Heartbeats(_OFTEN, beats) as heartbeats:
        await beats.first.wait()
        await heartbeats.stop()
        count = beats.count
        await _turns(5)
        await heartbeats.stop()

    assert beats.count == count


async def test_no_heartbeat_after_the_block() -> None:
    beats = _Beats()
    async with asyncio.timeout(30), Heartbeats(_OFTEN, beats):
        await beats.first.wait()
    count = beats.count
    await _turns(5)

    assert beats.count == count


async def test_an_interval_of_zero_disables_heartbeats() -> None:
    beats = _Beats()
    async with Heartbeats(0, beats) as heartbeats:
        await _turns(5)
        await heartbeats.stop()

    assert beats.count == 0


async def test_stop_raises_what_a_heartbeat_raised() -> None:
    beats = _Beats(OSError("closed"))
    async with asyncio.timeout(30), Heartbeats(_OFTEN, beats) as heartbeats:
        await beats.first.wait()
        with pytest.raises(OSError, match="closed"):
            await heartbeats.stop()


async def _block(beats: _Beats, failure: Exception | None = None) -> None:
    async with asyncio.timeout(30), Heartbeats(_OFTEN, beats):
        await beats.first.wait()
        if failure is not None:
            raise failure


async def test_the_end_of_the_block_raises_what_a_heartbeat_raised() -> None:
    with pytest.raises(OSError, match="closed"):
        await _block(_Beats(OSError("closed")))


async def test_an_error_of_the_block_comes_before_that_of_a_heartbeat() -> None:
    with pytest.raises(ValueError, match="first"):
        await _block(_Beats(OSError("closed")), ValueError("first"))
