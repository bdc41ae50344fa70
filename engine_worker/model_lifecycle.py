"""Load the model when a request needs it, and unload it when its keep-alive duration has passed."""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, suppress
from typing import Protocol

from drover import logs
from drover.concurrency import ChangeSignal
from drover.durations import NS_PER_SECOND
from drover.errors import DeadlineExceeded, DroverError, EngineFailed, QueueFull, WorkerDraining
from drover.ollama_options import INT64_MAX

_log = logging.getLogger("drover.worker")
# A shift of the expiry that is smaller is not reported: every request moves it a little.
_NOTICEABLE_NS = 1_000_000_000
_NS_PER_MS = 1_000_000
# After an unload that failed, at least, before the next one.
_UNLOAD_PAUSE_NS = 10 * NS_PER_SECOND


class Loadable(Protocol):
    """The methods of an Engine that load and unload its model."""

    async def load(self) -> None: ...

    async def unload(self) -> None: ...


class State(enum.Enum):
    """Whether the model is in memory. The transitions are in ModelLifecycle."""

    LOADED = enum.auto()
    UNLOADING = enum.auto()
    UNLOADED = enum.auto()
    LOADING = enum.auto()


class ModelLifecycle:
    """Whether the model is in memory, and which requests use it or wait for it.

        state      event                                           next state   action
        LOADED     no use left, and the keep-alive has expired     UNLOADING    engine.unload()
        UNLOADING  unload() returned                               UNLOADED     reset the keep-alive
        UNLOADING  unload() failed, the model stays (EngineFailed) LOADED       waiting requests continue
        UNLOADING  unload() failed otherwise                       UNLOADED     reset the keep-alive
        UNLOADED   a request waits for the model                   LOADING      engine.load()
        LOADING    load() returned                                 LOADED       waiting requests continue
        LOADING    load() failed                                   UNLOADED     waiting requests fail

    One task makes all transitions, so that loads and unloads never overlap, and a request that stops waiting
    cancels no load of others. Requests that arrive while UNLOADING wait for the load that follows.

    `keep_alive_ns` is the default; negative: for ever. `load_timeout_seconds` limits how long one request
    waits for the model; 0: no limit. `changed` is notified when `loaded` changes, or `expires_unix_ns` by
    more than a second.
    """

    def __init__(
        self, engine: Loadable, keep_alive_ns: int, load_timeout_seconds: float, changed: ChangeSignal
    ) -> None:
        self._engine = engine
        self._keep_alive = KeepAlive(keep_alive_ns)
        self._load_timeout_seconds = load_timeout_seconds
        self._changed = changed
        self._state = State.LOADED
        self._pinned = True
        self._users = 0
        self._waiting_limit = 0
        self._load_result: asyncio.Future[DroverError | None] | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reported = (True, 0)
        self._open = asyncio.Event()
        self._open.set()
        self._unused = asyncio.Event()
        self._unused.set()
        self._is_changing = False
        self.waiting = 0

    def start(self, *, pinned: bool, waiting_limit: int, unused_seconds: float = 0.0) -> None:
        """Begin with the model loaded. A `pinned` model is never unloaded. At most `waiting_limit` requests
        may wait for a load. `unused_seconds`: how long it waits at least for its first use.
        """
        self._pinned = pinned
        self._waiting_limit = waiting_limit
        if not pinned:
            self._start_keep_alive(round(unused_seconds * NS_PER_SECOND))
            self._task = asyncio.create_task(self._run(), name="model lifecycle")

    async def stop(self) -> None:
        """Fail the waiting requests. Safe to call twice. An engine's blocking load ends with the engine."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        self._end_waiting(WorkerDraining("the worker is shutting down"))

    @property
    def loaded(self) -> bool:
        return self._state in (State.LOADED, State.UNLOADING) and not self._is_changing

    @property
    def is_changing(self) -> bool:
        """Within `exclusive`, or waiting for it: the model will be loaded again."""
        return not self._open.is_set()

    @property
    def expires_unix_ns(self) -> int:
        """When the model will be unloaded; 0: never, or it is not loaded. While a request uses the model: as
        if the use ended now.
        """
        if self._pinned or not self.loaded:
            return 0
        return self._keep_alive.expires_unix_ns(time.time_ns())

    @asynccontextmanager
    async def use(self, keep_alive_ns: int | None = None) -> AsyncGenerator[int, None]:
        """Keep the model loaded within the context; yield how many ns the caller waited for it, 0 for none.

        `keep_alive_ns` is how long the model stays loaded after this use and later ones; negative: for ever.

        Raises QueueFull, EngineFailed when the model cannot be loaded, DeadlineExceeded, WorkerDraining.
        """
        while not self._open.is_set():
            await self._wait_until_open()
        async with self._use(keep_alive_ns) as load_ns:
            yield load_ns

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[None, None]:
        """Keep the model loaded and unused within the context: for a change of the engine. Requests in flight
        end first, those that arrive meanwhile wait. One at a time.

        Raises DeadlineExceeded if the requests in flight do not end within the limit for a load, and what
        `use` raises.
        """
        self._open.clear()
        try:
            await self._in_time(self._unused.wait(), "the requests in flight did not end")
            async with self._use(None):
                self._is_changing = True
                yield
        finally:
            self._is_changing = False
            self._open.set()
            self._notify_if_changed()

    async def _wait_until_open(self) -> None:
        if self.waiting >= self._waiting_limit:
            raise QueueFull()
        self.waiting += 1
        try:
            await self._in_time(self._open.wait(), "the model was not ready again")
        finally:
            self.waiting -= 1

    async def _in_time(self, waiting: Awaitable[object], what: str) -> None:
        try:
            async with asyncio.timeout(self._load_timeout_seconds or None):
                await waiting
        except TimeoutError:
            raise DeadlineExceeded(
                f"{what} within {self._load_timeout_seconds:g} s (--load-timeout-seconds of the worker), "
                "please try again"
            ) from None

    @asynccontextmanager
    async def _use(self, keep_alive_ns: int | None) -> AsyncGenerator[int, None]:
        if self._state is not State.LOADED and self.waiting >= self._waiting_limit:
            raise QueueFull()
        if keep_alive_ns is not None:
            self._keep_alive.set(keep_alive_ns)
        self._users += 1
        self._unused.clear()
        self._keep_alive.suspend()
        self._notify_if_changed()
        try:
            yield 0 if self._state is State.LOADED else await self._wait_until_loaded()
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()
                self._end_last_use()
            self._notify_if_changed()

    def unload_when_idle(self) -> bool:
        """Unload the model once no request uses it. True if it stays loaded for now: pinned, or in use."""
        if not self._pinned and self._state in (State.LOADED, State.LOADING):
            self._keep_alive.set(0)
            if not self._users:
                self._start_keep_alive()
            self._notify_if_changed()
        return self._pinned or self._users > 0

    def _end_last_use(self) -> None:
        """No request uses the model or waits for it."""
        if self._state in (State.LOADED, State.LOADING):
            self._start_keep_alive()
        else:
            self._reset_keep_alive()

    def _start_keep_alive(self, at_least_ns: int = 0) -> None:
        """The model is idle from now on: count its keep-alive."""
        self._keep_alive.start(asyncio.get_running_loop().time(), time.time_ns(), at_least_ns)
        self._wake.set()

    def _reset_keep_alive(self) -> None:
        """The model is unloaded, or is about to be: the next load begins with the default."""
        self._keep_alive.reset()

    async def _wait_until_loaded(self) -> int:
        began_ns = time.perf_counter_ns()
        if self._load_result is None:
            self._load_result = asyncio.get_running_loop().create_future()
        self.waiting += 1
        self._wake.set()
        try:
            async with asyncio.timeout(self._load_timeout_seconds or None):
                error = await asyncio.shield(self._load_result)
        except TimeoutError:
            raise DeadlineExceeded(
                f"the model did not load within {self._load_timeout_seconds:g} s "
                "(--load-timeout-seconds of the worker), please try again"
            ) from None
        finally:
            self.waiting -= 1
        if error is not None:
            # A new exception for each request: one that is raised twice would carry both tracebacks.
            raise type(error)(error.message)
        return max(1, time.perf_counter_ns() - began_ns)

    async def _run(self) -> None:
        while True:
            if self._state is State.LOADED:
                await self._until_expired()
                await self._unload()
            else:
                await self._until_needed()
                await self._load()

    async def _until_expired(self) -> None:
        loop = asyncio.get_running_loop()
        while (due := self._keep_alive.due_seconds) is None or loop.time() < due:
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._wake.wait()

    async def _until_needed(self) -> None:
        while self._load_result is None or not self.waiting:
            self._wake.clear()
            await self._wake.wait()

    async def _unload(self) -> None:
        self._state = State.UNLOADING
        self._reset_keep_alive()
        try:
            await self._engine.unload()
        except EngineFailed as error:
            logs.event(_log, logging.ERROR, "model unload failed, it stays in memory", reason=error.message)
            self._stay_loaded()
            return
        except Exception:  # noqa: BLE001 - if it matters, the next load fails, and its request gets the reason
            _log.exception("model unload failed")
        else:
            logs.event(_log, logging.INFO, "model unloaded")
        self._state = State.UNLOADED
        self._notify_if_changed()

    def _stay_loaded(self) -> None:
        self._state = State.LOADED
        if not self._users:
            self._start_keep_alive(_UNLOAD_PAUSE_NS)
        self._end_waiting(None)
        self._notify_if_changed()

    async def _load(self) -> None:
        self._state = State.LOADING
        began_ns = time.perf_counter_ns()
        error = await self._try_to_load()
        took_ms = round((time.perf_counter_ns() - began_ns) / _NS_PER_MS)
        if error is None:
            self._state = State.LOADED
            logs.event(_log, logging.INFO, "model loaded", took_ms=took_ms)
        else:
            self._state = State.UNLOADED
            logs.event(_log, logging.ERROR, "model load failed", reason=error.message, took_ms=took_ms)
        if not self._users:
            self._end_last_use()
        self._end_waiting(error)
        self._notify_if_changed()

    async def _try_to_load(self) -> DroverError | None:
        try:
            await self._engine.load()
        except DroverError as error:
            return error
        except Exception as error:  # noqa: BLE001 - any failure must reach the waiting requests
            _log.debug("loading failed", exc_info=error)
            return EngineFailed(f"the model could not be loaded: {error}")
        return None

    def _end_waiting(self, error: DroverError | None) -> None:
        """Let the waiting requests continue, or fail with `error`."""
        result, self._load_result = self._load_result, None
        if result is not None:
            result.set_result(error)

    def _notify_if_changed(self) -> None:
        loaded, expiry = self.loaded, self.expires_unix_ns
        reported_loaded, reported_expiry = self._reported
        never_flips = (expiry == 0) != (reported_expiry == 0)
        if loaded != reported_loaded or never_flips or abs(expiry - reported_expiry) > _NOTICEABLE_NS:
            self._reported = (loaded, expiry)
            self._changed.notify()


class KeepAlive:
    """When an idle model expires: arithmetic, without a timer.

    The duration is the one that was set last since the model was loaded, at first the default. It counts from
    the end of the last use. `due_seconds` is the expiry in the event loop's time; None while the model is
    used, or if it never expires.
    """

    def __init__(self, default_ns: int) -> None:
        self._default_ns = default_ns
        self._ns = default_ns
        self._expires_unix_ns: int | None = None
        self.due_seconds: float | None = None

    def set(self, keep_alive_ns: int) -> None:
        """Negative: never expire."""
        self._ns = keep_alive_ns

    def reset(self) -> None:
        """Go back to the default duration."""
        self._ns = self._default_ns

    def suspend(self) -> None:
        """A use begins: nothing expires until `start`."""
        self._expires_unix_ns = self.due_seconds = None

    def start(self, now_seconds: float, now_unix_ns: int, at_least_ns: int = 0) -> None:
        """Count from now on: the last use has ended. `at_least_ns` counts where the duration is shorter."""
        self._expires_unix_ns = expiry = self._expiry(now_unix_ns, at_least_ns)
        self.due_seconds = now_seconds + (expiry - now_unix_ns) / NS_PER_SECOND if expiry else None

    def expires_unix_ns(self, now_unix_ns: int) -> int:
        """The expiry; during a use, as if it ended now. 0: never."""
        return self._expiry(now_unix_ns) if self._expires_unix_ns is None else self._expires_unix_ns

    def _expiry(self, now_unix_ns: int, at_least_ns: int = 0) -> int:
        """An expiry beyond int64 (the year 2262) means never."""
        expiry = now_unix_ns + max(self._ns, at_least_ns)
        return 0 if self._ns < 0 or expiry > INT64_MAX else expiry
