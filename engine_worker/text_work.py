"""Texts that are turned into tokens, and back: how much of it an engine does at the same time.

No tokenizer can be stopped in the middle of a text. So what a client has left goes on to its end and counts
until then, a text has a longest length, long ones are done one by one, and short ones do not wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from drover.errors import EngineFailed, InvalidRequest, QueueFull

# Some ten seconds of one core, and far more tokens than any context window has.
MOST_BYTES = 8 * 1024 * 1024
_LONG_BYTES = 64 * 1024
_MOST_WAITING_BYTES = 64 * 1024 * 1024

Result = TypeVar("Result")


def check_length(length: int) -> None:
    """Of a text, in bytes. Raises InvalidRequest."""
    if length > MOST_BYTES:
        raise InvalidRequest(
            f"a text of {length} bytes is too long: this worker tokenises at most {MOST_BYTES} bytes at once"
        )


class TextWork:
    """`short_at_once`: of texts up to 64 KiB; there is one long one more."""

    def __init__(self, short_at_once: int) -> None:
        self._short = asyncio.Semaphore(short_at_once)
        self._long = asyncio.Semaphore(1)
        self._running: set[asyncio.Task[None]] = set()
        self._bytes = 0

    async def run(self, length: int, work: Callable[[], Awaitable[Result]]) -> Result:
        """What `work` on a text of so many bytes gives. A caller that is cancelled leaves at once, and work
        that has not begun never does. Raises InvalidRequest for a text that is too long, QueueFull for too
        many.
        """
        check_length(length)
        if self._bytes + length > _MOST_WAITING_BYTES:
            raise QueueFull()
        self._bytes += length
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        doing = asyncio.create_task(self._do(length, work, result), name="tokenise")
        self._running.add(doing)

        def ended(doing: asyncio.Task[None]) -> None:
            self._running.discard(doing)
            self._bytes -= length
            if not result.done():
                result.set_exception(EngineFailed("the engine has gone away"))

        doing.add_done_callback(ended)
        return await result

    async def end(self) -> None:
        """The engine is gone: there is nothing to wait for."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _do(
        self, length: int, work: Callable[[], Awaitable[Result]], result: asyncio.Future[Result]
    ) -> None:
        try:
            async with self._long if length > _LONG_BYTES else self._short:
                if result.done():
                    return
                found = await work()
            if not result.done():
                result.set_result(found)
        except Exception as error:  # noqa: BLE001 - it is the caller's, and here there may be none any more
            if not result.done():
                result.set_exception(error)
