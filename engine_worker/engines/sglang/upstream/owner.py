"""The thread that makes an engine and ends it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import psutil

if TYPE_CHECKING:
    import sglang

Result = TypeVar("Result")
_GIVE_UP_SECONDS = 3.0
_KILL_INTERVAL_SECONDS = 0.05


class EngineOwner:
    """It lives as long as the engine: Linux ends SGLang's processes with the thread that started them."""

    def __init__(self, make: Callable[[], sglang.Engine]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._wanted = threading.Event()
        self._made = threading.Event()
        self.started: asyncio.Future[sglang.Engine] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        threading.Thread(target=self._run, name="sglang", daemon=True).start()

    async def end(self) -> None:
        """An engine that is still being made loses its processes, and gives up for that."""
        self._wanted.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_GIVE_UP_SECONDS):
                while not self._made.is_set():
                    _kill_children()
                    await asyncio.sleep(_KILL_INTERVAL_SECONDS)
        if self._made.is_set() and not self.started.cancelled() and self.started.exception() is None:
            await self._ended

    def _run(self) -> None:
        try:
            engine = self._make()
        except BaseException as raised:  # noqa: BLE001 - it is handed to whoever waits
            # SGLang exits where it gives up a start.
            error = RuntimeError("SGLang gave up") if isinstance(raised, SystemExit) else raised
            self._deliver(lambda: self.started.set_exception(error), self.started)
            self._made.set()
            return
        self._deliver(lambda: self.started.set_result(engine), self.started)
        self._made.set()
        self._wanted.wait()
        engine.shutdown()
        self._deliver(lambda: self._ended.set_result(None), self._ended)

    def _deliver(self, settle: Callable[[], None], future: asyncio.Future[Result]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(lambda: None if future.done() else settle())


def _kill_children() -> None:
    """A young child does not know yet that it should end with its parent."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()
