"""Waiting for a condition, never longer than a deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

_POLL_SECONDS = 0.01


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float, what: str) -> float:
    """How long it took. Fails the test with `what` when it does not come true in time."""
    began = time.monotonic()
    while True:
        outcome = condition()
        if outcome if isinstance(outcome, bool) else await outcome:
            return time.monotonic() - began
        if time.monotonic() - began > seconds:
            raise AssertionError(f"not within {seconds} s: {what}")
        await asyncio.sleep(_POLL_SECONDS)


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """The same, in a test that is no coroutine."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}")
        time.sleep(_POLL_SECONDS)
