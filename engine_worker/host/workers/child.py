"""A worker of this host: its process, whether it is ready, its load and its end."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import orjson

from drover import logs
from drover.rpc import CHANNEL_OPTIONS
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from engine_worker.host.models.base import StoredModel
from engine_worker.host.plan import Resident, State
from engine_worker.host.workers.process import WorkerProcess

if TYPE_CHECKING:
    from drover.v1.engine_pb2_grpc import EngineAsyncStub

_log = logging.getLogger("drover.host")
LOG = "worker.log"
_POLL_SECONDS = 0.1
_LOADING_MEASURE_SECONDS = 0.5
_ANSWER_SECONDS = 5.0
_INTERVAL_MS = 1000
# Without a report for the first, a watcher connects anew; without one for the second, its worker is ended.
_LATE_SECONDS, _SILENCE_SECONDS = 10.0, 30.0
_LOG_BYTES = 8 << 20
_LAST_LINES = 5
_LAST_BYTES = 8192
# Beyond what the worker allows its requests by itself.
_END_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class ChildPlace:
    """What identifies a child beyond the life of the host. `folder`: of its log, and of a file with this.
    `socket`: where the host watches it, as unix:/path. `gpus`: the ids of its own.
    """

    address: str
    socket: str
    folder: Path
    is_extra: bool = False
    gpus: tuple[str, ...] = ()

    @property
    def log(self) -> Path:
        return self.folder / LOG

    @property
    def store(self) -> Path:
        """Its folder, which has one of all workers."""
        return self.folder.parents[1]

    def shorten_log(self) -> None:
        """Keep the last lines of a log that has grown beyond its bound. The worker appends to the file.
        Blocks.
        """
        with suppress(OSError):
            size = self.log.stat().st_size
            if size > _LOG_BYTES:
                with self.log.open("rb") as file:
                    file.seek(size - _LOG_BYTES // 4)
                    end = file.read(_LOG_BYTES // 4).partition(b"\n")[2]
                os.truncate(self.log, 0)
                with self.log.open("ab") as file:
                    file.write(end)


@dataclass(frozen=True, slots=True)
class Events:
    """Called by children. `changed`: the state is another one; `used`: requests began or ended, or the expiry
    has moved, which may come with each request; `ended`: once, with the reason, which is empty if the end was
    asked for.
    """

    changed: Callable[[], None]
    used: Callable[[], None]
    ended: Callable[[Child, str], None]


@dataclass(eq=False)
class Child:
    """`memory_bytes`: measured, or estimated while a load takes less than that. Times: of time.monotonic."""

    model: StoredModel
    place: ChildPlace
    process: WorkerProcess
    memory_bytes: int
    events: Events
    state: State = State.LOADING
    card: pb.Model | None = None
    report: pb.LoadReport = field(default_factory=pb.LoadReport)
    began: float = field(default_factory=time.monotonic)
    began_unix_ns: int = field(default_factory=time.time_ns)
    since: float = 0.0
    last_used: float = field(default_factory=time.monotonic)
    """While it loads: when requests waited for it last."""
    last_full: float = 0.0
    """When it ran as many requests as it can."""
    load_ns: int = 0
    measured_bytes: int = 0
    """The most that was seen."""
    gpu_bytes: int = 0
    """Of each of its GPUs, as `memory_bytes`."""
    gpu_measured_bytes: int = 0
    gpu_used_before: Mapping[str, int] = field(default_factory=dict)
    """Of its GPUs, by all processes, when it started."""
    is_pinned: bool = False
    residency_loads: float = 0.0
    """For how many times the duration of its load it should stay while it has requests."""
    is_learned: bool = False
    has_served: bool = False
    _is_awaited: bool = False
    _task: asyncio.Task[None] | None = None
    _end_task: asyncio.Task[None] | None = None

    def start(self, load_seconds: float, drain_seconds: float) -> None:
        """Watch it in the background. `load_seconds`: how long its load may take, 0 for no limit."""
        self._drain_seconds = drain_seconds
        self._task = asyncio.create_task(self._run(load_seconds), name=f"worker of {self.model.name.short}")

    async def stop_watching(self) -> None:
        """It continues without this host."""
        for task in (self._task, self._end_task):
            if task is not None:
                task.cancel()
                await asyncio.wait({task})
        self.process.forget()

    def drain(self) -> None:
        """Let its requests end, within the bound, and then its process."""
        if self._end_task is None:
            self.state = State.DRAINING
            self._end_task = asyncio.create_task(self._end(), name=f"end {self.model.name.short}")
            self.events.changed()

    def set_awaited(self, is_awaited: bool, now: float) -> None:
        """Whether requests wait for it, which is asked whenever that may have changed."""
        if self.state is State.LOADING and (is_awaited or self._is_awaited):
            self.last_used = now
        self._is_awaited = is_awaited

    @property
    def requests(self) -> int:
        return self.report.running + self.report.waiting

    def resident(self) -> Resident:
        return Resident(
            self.model.key,
            self.state,
            self.memory_bytes,
            self.requests,
            self.since,
            self.last_used,
            self.has_served,
            self.is_pinned,
            self.place.is_extra,
            self.place.gpus,
            self.gpu_bytes,
            self.residency_loads * self.load_ns / 1e9,
        )

    async def _run(self, load_seconds: float) -> None:
        watching = asyncio.create_task(self._watch(load_seconds), name="watch a worker")
        ending = asyncio.create_task(self.process.wait(), name="wait for a worker's end")
        try:
            await asyncio.wait({watching, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                # It did not become ready in time, or does not report any more.
                self.process.kill()
            how = await ending
            await asyncio.to_thread(self.process.end_session)
            self.events.ended(self, "" if self.state is State.DRAINING else await self._explain(how))
        finally:
            for task in (watching, ending):
                task.cancel()
            await asyncio.wait({watching, ending})

    async def _watch(self, load_seconds: float) -> None:
        async with grpc.aio.insecure_channel(self.place.socket, options=CHANNEL_OPTIONS) as channel:
            stub: EngineAsyncStub = engine_pb2_grpc.EngineStub(channel)
            try:
                async with asyncio.timeout(load_seconds or None):
                    self.card = await self._until_ready(stub)
            except TimeoutError:
                logs.event(_log, logging.ERROR, "a load took too long", model=self.model.name.short)
                return
            if self.state is State.LOADING:
                self.state = State.READY
            self.since = self.last_used = time.monotonic()
            self.load_ns = round((self.since - self.began) * 1e9)
            self.events.changed()
            await self._until_silent(stub)

    async def _until_silent(self, stub: EngineAsyncStub) -> None:
        """Each attempt counts for its limit at most: this process may have been stopped meanwhile."""
        silent_seconds = 0.0
        while silent_seconds < _SILENCE_SECONDS:
            began, before = time.monotonic(), self.report
            with suppress(grpc.aio.AioRpcError, TimeoutError):
                await self._follow_reports(stub)
            await asyncio.sleep(_POLL_SECONDS)
            passed = min(time.monotonic() - began, _LATE_SECONDS)
            silent_seconds = silent_seconds + passed if self.report is before else 0.0
        logs.event(_log, logging.ERROR, "a worker does not answer any more", model=self.model.name.short)

    async def _until_ready(self, stub: EngineAsyncStub) -> pb.Model:
        due = time.monotonic() + _LOADING_MEASURE_SECONDS
        while True:
            try:
                return await stub.GetModel(pb.GetModelRequest(), timeout=_ANSWER_SECONDS)
            except grpc.aio.AioRpcError:
                await asyncio.sleep(_POLL_SECONDS)
            if time.monotonic() > due:
                due = time.monotonic() + _LOADING_MEASURE_SECONDS
                await self.measure()

    async def measure(self) -> bool:
        """Whether it takes more than was known. A simulated model takes nothing of what it counts for."""
        if self.model.is_simulated:
            return False
        measured = await asyncio.to_thread(self.process.memory_bytes)
        self.measured_bytes = max(self.measured_bytes, measured)
        has_grown = measured > self.memory_bytes
        if has_grown:
            self.memory_bytes = measured
            self.events.changed()
        return has_grown

    def on_gpu_measured(self, measured: int) -> None:
        """Of that of its GPUs which has most of it."""
        if self.model.is_simulated:
            return
        self.gpu_measured_bytes = max(self.gpu_measured_bytes, measured)
        self.gpu_bytes = max(self.gpu_bytes, measured)

    async def _follow_reports(self, stub: EngineAsyncStub) -> None:
        call = stub.WatchLoad(pb.WatchLoadRequest(interval_ms=_INTERVAL_MS, monitor=True))
        try:
            async with asyncio.timeout(_LATE_SECONDS) as limit:
                async for report in call:
                    limit.reschedule(asyncio.get_running_loop().time() + _LATE_SECONDS)
                    self._on_report(report)
        finally:
            call.cancel()

    def _on_report(self, report: pb.LoadReport) -> None:
        was_busy, before = self.requests > 0, self.report
        self.report = report
        worked = self.requests > 0 or _has_worked(before, report)
        first_served = worked and not self.has_served
        self.has_served = self.has_served or first_served
        if was_busy or worked:
            self.last_used = time.monotonic()
        if self.requests >= report.running_limit:
            self.last_full = time.monotonic()
        is_unloaded = not (report.loaded or report.changing or self.model.sleeps)
        if (is_unloaded or report.draining) and self.state is State.READY:
            # Its keep-alive has expired, a client has stopped it, or an earlier host has let it drain.
            self.drain()
        moved = abs(report.expires_unix_ns - before.expires_unix_ns) > 1_000_000_000
        if first_served or moved or was_busy != (self.requests > 0):
            self.events.used()

    async def _end(self) -> None:
        self.process.terminate()
        try:
            async with asyncio.timeout(self._drain_seconds + _END_SECONDS):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()

    async def _explain(self, how: str) -> str:
        """Why it ended by itself: the last lines of its log. Clients see it, and no path of this machine."""
        last = await asyncio.to_thread(_last_lines, self.place.log)
        last = last.replace(f"{self.place.store}/", "")
        return f"its worker ended ({how}){': ' if last else ''}{last}"


def _has_worked(before: pb.LoadReport, report: pb.LoadReport) -> bool:
    """Whether requests have come and gone in between: each use moves the expiry, if there is one."""
    if not before.running_limit:
        # The first report counts the worker's own warm-up.
        return False
    has_moved = report.expires_unix_ns != before.expires_unix_ns
    return has_moved or report.prefill_tokens_done > before.prefill_tokens_done


def _last_lines(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _LAST_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return " / ".join([text for line in lines if (text := _text_of(line))][-_LAST_LINES:])


def _text_of(line: str) -> str:
    """What a line of a log says. Of the worker's own, which are JSON, only errors and warnings count."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return line.strip()
    match document:
        case {"level": "error" | "warning", "message": str(message), **more}:
            return f"{message}: {more['reason']}" if "reason" in more else message
        case {"level": str()}:
            return ""
    return line.strip()
