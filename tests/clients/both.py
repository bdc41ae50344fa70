"""Adapter that lets one test run with a client's synchronous and asynchronous form."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import TypeVar

Part = TypeVar("Part")


async def settled(value: Awaitable[Part] | Part) -> Part:
    return await value if inspect.isawaitable(value) else value


@asynccontextmanager
async def opened(
    manager: AbstractAsyncContextManager[Part] | AbstractContextManager[Part],
) -> AsyncIterator[Part]:
    if isinstance(manager, AbstractAsyncContextManager):
        async with manager as value:
            yield value
    else:
        with manager as value:
            yield value


async def collected(stream: AsyncIterable[Part] | Iterable[Part]) -> list[Part]:
    if isinstance(stream, AsyncIterable):
        return [part async for part in stream]
    return list(stream)
