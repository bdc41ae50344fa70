"""Limit how many texts an engine tokenises and detokenises at the same time.

No tokenizer can be stopped within a text. So a text whose client has left is still finished, and counts until
then; texts have a maximum length; long texts run one by one, and short ones do not wait for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from drover.errors import EngineFailed, InvalidRequest, QueueFull

# About ten seconds of one core, and far more tokens than any context window.
MAX_BYTES = 8 * 1024 * 1024
_LONG_BYTES = 64 * 1024
_MAX_WAITING_BYTES = 64 * 1024 * 1024

Result = TypeVar("Result")


def check_length(length: int) -> None:
    """Check the size of a text in bytes. Raises InvalidRequest if it is too long."""
    if length > MAX_BYTES:
        raise InvalidRequest(
            f"a text of {length} bytes is too long: this worker tokenises at most {MAX_BYTES} bytes at once"
        )


class TextWork:
    """Runs at most `short_at_once` texts up to 64 KiB, and one longer text, at the same time."""

    def __init__(self, short_at_once: int) -> None:
        self._short = asyncio.Semaphore(short_at_once)
        self._long = asyncio.Semaphore(1)
        self._running: set[asyncio.Task[None]] = set()
        self._bytes = 0

    async def run(self, length: int, work: Callable[[], Awaitable[Result]]) -> Result:
        """Run `work` on a text of `length` bytes, and return its result.

        A cancelled caller returns at once; work that has not started then never starts. Raises InvalidRequest
        for a text that is too long, QueueFull if too many bytes wait.
        """
        check_length(length)
        if self._bytes + length > _MAX_WAITING_BYTES:
            raise QueueFull()
        self._bytes += length
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        doing = asyncio.create_task(self._do(length, work, result), name="tokenise")
        self._running.add(doing)

        def ended(doing: asyncio.Task[None]) -> None:
            self._running.discard(doing)
            self._bytes -= length
            if not result.done():
                result.set_exception(EngineFailed("the engine has stopped"))

        doing.add_done_callback(ended)
        return await result

    async def end(self) -> None:
        """Cancel all work: the engine has stopped."""
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
        except Exception as error:  # noqa: BLE001 - the result of the future; the caller may have left
            if not result.done():
                result.set_exception(error)
