"""Whether the model is in memory: brought back when somebody needs it, let go when its time is over."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from drover import logs
from drover.concurrency import ChangeSignal
from drover.errors import DeadlineExceeded, DroverError, EngineFailed, QueueFull, WorkerDraining
from engine_worker.keep_alive import KeepAlive

_log = logging.getLogger("drover.worker")
_NOTICEABLE_NS = 1_000_000_000
_NS_PER_MS = 1_000_000


class Loadable(Protocol):
    """The part of an Engine that this is about."""

    async def load(self) -> None: ...

    async def unload(self) -> None: ...


class Phase(enum.Enum):
    LOADED = enum.auto()
    UNLOADING = enum.auto()
    UNLOADED = enum.auto()
    LOADING = enum.auto()


class ModelLifecycle:
    """One task moves the model, so no two moves overlap and whoever stops waiting stops nobody else's load.

    `keep_alive_ns`: the default; negative: for ever. `load_timeout_seconds`: how long one request waits for
    the model; 0: without limit. `changed` rings when `loaded` or `expires_unix_ns` is noticeably another.
    """

    def __init__(
        self, engine: Loadable, keep_alive_ns: int, load_timeout_seconds: float, changed: ChangeSignal
    ) -> None:
        self._engine = engine
        self._keep_alive = KeepAlive(keep_alive_ns)
        self._load_timeout_seconds = load_timeout_seconds
        self._changed = changed
        self._phase = Phase.LOADED
        self._pinned = True
        self._users = 0
        self._waiting_limit = 0
        self._arrival: asyncio.Future[DroverError | None] | None = None
        self._wake = asyncio.Event()
        self._mover: asyncio.Task[None] | None = None
        self._told = (True, 0)
        self.waiting = 0

    def start(self, *, pinned: bool, waiting_limit: int) -> None:
        """The model is in memory now. `pinned`: and stays. `waiting_limit`: requests that may wait for it."""
        self._pinned = pinned
        self._waiting_limit = waiting_limit
        if not pinned:
            self._rest()
            self._mover = asyncio.create_task(self._move(), name="keep the model")

    async def stop(self) -> None:
        """Safe to call twice. A move that goes on is the engine's to end."""
        if self._mover is not None:
            self._mover.cancel()
            await asyncio.wait({self._mover})
        self._arrived(WorkerDraining("the worker is shutting down"))

    @property
    def loaded(self) -> bool:
        return self._phase in (Phase.LOADED, Phase.UNLOADING)

    @property
    def expires_unix_ns(self) -> int:
        """0: never, or not loaded. While the model is used: as if the use ended now."""
        if self._pinned or not self.loaded:
            return 0
        return self._keep_alive.expires_unix_ns(time.time_ns())

    @asynccontextmanager
    async def use(self, keep_alive_ns: int | None = None) -> AsyncGenerator[int, None]:
        """Around all that needs the model; gives the nanoseconds that it had to wait for it, 0 for none.
        `keep_alive_ns`: how long the model stays afterwards, for this and later uses; negative: for ever.

        Raises QueueFull, EngineFailed when the model cannot be loaded, DeadlineExceeded, WorkerDraining.
        """
        if self._phase is not Phase.LOADED and self.waiting >= self._waiting_limit:
            raise QueueFull()
        if keep_alive_ns is not None:
            self._keep_alive.ask(keep_alive_ns)
        self._users += 1
        self._keep_alive.used()
        self._notify_if_changed()
        try:
            yield 0 if self._phase is Phase.LOADED else await self._wait()
        finally:
            self._users -= 1
            if not self._users:
                self._rest()
            self._notify_if_changed()

    def let_go(self) -> bool:
        """As soon as nobody uses the model; what runs ends as it would. Whether the model stays for now."""
        if not self._pinned and self._phase in (Phase.LOADED, Phase.LOADING):
            self._keep_alive.ask(0)
            if not self._users:
                self._rest()
            self._notify_if_changed()
        return self._pinned or self._users > 0

    def _rest(self) -> None:
        """Nobody uses the model any more, or nobody needs it to come."""
        if self._phase in (Phase.LOADED, Phase.LOADING):
            self._keep_alive.rests(asyncio.get_running_loop().time(), time.time_ns())
        else:
            self._keep_alive.forget_what_was_asked()
        self._wake.set()

    async def _wait(self) -> int:
        began_ns = time.perf_counter_ns()
        if self._arrival is None:
            self._arrival = asyncio.get_running_loop().create_future()
        self.waiting += 1
        self._wake.set()
        try:
            async with asyncio.timeout(self._load_timeout_seconds or None):
                error = await asyncio.shield(self._arrival)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the model did not load within {self._load_timeout_seconds:g} s "
                "(--load-timeout-seconds of the worker), please try again"
            ) from None
        finally:
            self.waiting -= 1
        if error is not None:
            raise type(error)(error.message)
        return max(1, time.perf_counter_ns() - began_ns)

    async def _move(self) -> None:
        while True:
            if self._phase is Phase.LOADED:
                await self._until_due()
                await self._unload()
            else:
                await self._until_wanted()
                await self._load()

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while (due := self._keep_alive.due_seconds) is None or loop.time() < due:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()

    async def _until_wanted(self) -> None:
        while self._arrival is None or not self.waiting:
            self._wake.clear()
            await self._wake.wait()

    async def _unload(self) -> None:
        self._phase = Phase.UNLOADING
        self._keep_alive.forget_what_was_asked()
        try:
            await self._engine.unload()
        except Exception:  # noqa: BLE001 - the next load says what is wrong, to somebody who waits for it
            _log.exception("the model did not leave memory as it should")
        self._phase = Phase.UNLOADED
        logs.event(_log, logging.INFO, "model unloaded")
        self._notify_if_changed()

    async def _load(self) -> None:
        self._phase = Phase.LOADING
        began_ns = time.perf_counter_ns()
        error = await self._try_to_load()
        took_ms = round((time.perf_counter_ns() - began_ns) / _NS_PER_MS)
        if error is None:
            self._phase = Phase.LOADED
            logs.event(_log, logging.INFO, "model loaded", took_ms=took_ms)
        else:
            self._phase = Phase.UNLOADED
            logs.event(_log, logging.ERROR, "the model did not load", reason=error.message, took_ms=took_ms)
        if not self._users:
            self._rest()
        self._arrived(error)
        self._notify_if_changed()

    async def _try_to_load(self) -> DroverError | None:
        try:
            await self._engine.load()
        except DroverError as error:
            return error
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            _log.debug("loading failed", exc_info=error)
            return EngineFailed(f"the model could not be loaded: {error}")
        return None

    def _arrived(self, error: DroverError | None) -> None:
        arrival, self._arrival = self._arrival, None
        if arrival is not None:
            arrival.set_result(error)

    def _notify_if_changed(self) -> None:
        loaded, expiry = self.loaded, self.expires_unix_ns
        told_loaded, told_expiry = self._told
        never_flips = (expiry == 0) != (told_expiry == 0)
        if loaded != told_loaded or never_flips or abs(expiry - told_expiry) > _NOTICEABLE_NS:
            self._told = (loaded, expiry)
            self._changed.notify()
