"""One refresh for all who called before it started."""

from __future__ import annotations

import asyncio

import pytest

from frontend.models.refresh_gate import RefreshGate


class _Refresh:
    """Each run waits until it is released; `fails`: the numbers of the runs that fail, from 1."""

    def __init__(self, fails: frozenset[int] = frozenset()) -> None:
        self.started = 0
        self.release = asyncio.Event()
        self._fails = fails

    async def __call__(self) -> None:
        self.started += 1
        number = self.started
        await self.release.wait()
        if number in self._fails:
            raise OSError(f"refresh {number} failed")


async def _begin(gate: RefreshGate, refresh: _Refresh) -> asyncio.Task[None]:
    """A caller that has reached the gate."""
    caller = asyncio.create_task(gate.run(refresh))
    await asyncio.sleep(0)
    return caller


async def test_callers_during_a_refresh_share_the_next_one() -> None:
    gate, refresh = RefreshGate(), _Refresh()
    callers = [await _begin(gate, refresh) for _ in range(4)]
    assert refresh.started == 1
    refresh.release.set()
    await asyncio.gather(*callers)
    assert refresh.started == 2


async def test_a_caller_after_a_refresh_gets_its_own() -> None:
    gate, refresh = RefreshGate(), _Refresh()
    refresh.release.set()
    await gate.run(refresh)
    await gate.run(refresh)
    assert refresh.started == 2


async def test_a_failed_refresh_raises_in_its_caller_and_the_next_caller_tries_again() -> None:
    gate, refresh = RefreshGate(), _Refresh(fails=frozenset({1, 2}))
    first, second, third = [await _begin(gate, refresh) for _ in range(3)]
    refresh.release.set()
    with pytest.raises(OSError, match="refresh 1"):
        await first
    with pytest.raises(OSError, match="refresh 2"):
        await second
    await third
    assert refresh.started == 3


async def test_a_change_waits_for_a_refresh() -> None:
    gate, refresh = RefreshGate(), _Refresh()
    caller = await _begin(gate, refresh)

    async def change() -> bool:
        async with gate.exclusive():
            return caller.done()

    changing = asyncio.create_task(change())
    await asyncio.sleep(0)
    refresh.release.set()
    assert await changing
