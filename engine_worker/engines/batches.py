"""The parts of one request, several of them in the engine at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from drover.errors import DroverError

Part = TypeVar("Part")
Result = TypeVar("Result")


async def in_order(
    parts: Sequence[Part], work: Callable[[Part], Awaitable[Result]], at_once: int
) -> list[Result]:
    """The results of `work` in the order of the parts, `at_once` of which run at the same time. The first
    failure fails all.
    """
    results: dict[int, Result] = {}
    todo = iter(enumerate(parts))

    async def run() -> None:
        for index, part in todo:
            results[index] = await work(part)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(parts))):
                group.create_task(run())
    except* DroverError as failures:
        raise failures.exceptions[0] from None
    return [results[index] for index in range(len(parts))]
