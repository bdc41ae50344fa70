"""`sglang.Engine` with its child processes: started, watched, asked and ended."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypedDict, TypeVar, cast

import psutil

from drover.errors import EngineFailed, InvalidRequest
from engine_worker.engines.sglang.options import SglangOptions
from engine_worker.engines.sglang.upstream import environment
from engine_worker.engines.sglang.upstream.loads import EngineLoad, read_load

if TYPE_CHECKING:
    import sglang

Result = TypeVar("Result")
_STOP_SECONDS = 60.0
_GIVE_UP_SECONDS = 3.0
_KILL_INTERVAL_SECONDS = 0.05


class Finish(TypedDict, total=False):
    """`type` is stop, length or abort; `matched` a token id or a stop text."""

    type: str
    matched: int | str
    message: str
    status_code: int | None


class Meta(TypedDict, total=False):
    """Counts are cumulative; times are unix seconds of the scheduler, absent without --enable-metrics."""

    finish_reason: Finish | None
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    reasoning_tokens: int
    queue_time: float
    forward_entry_time: float
    prefill_finished_time: float
    request_finished_ts: float
    output_token_logprobs: list[tuple[float, int, None]]
    output_top_logprobs: list[list[tuple[float, int, None]] | None]


class Chunk(TypedDict):
    """New text and tokens. The text of an abort is a stray one."""

    text: str
    output_ids: list[int]
    meta_info: Meta


class Call(TypedDict, total=False):
    """One request, in the words of Engine.async_generate."""

    rid: str
    prompt: str
    input_ids: list[int]
    image_data: list[bytes]
    sampling_params: dict[str, object]
    return_logprob: bool
    top_logprobs_num: int
    require_reasoning: bool
    priority: int
    cache_salt: str


class EngineProcess:
    def __init__(self, options: SglangOptions) -> None:
        self._options = options
        self._owner: _Owner | None = None
        self._children: list[int] = []
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Blocks nobody for the minutes that it may take. Raises ValueError or RuntimeError."""
        loop = asyncio.get_running_loop()
        # A child that fails tells its parent so; SGLang's own handlers would end this process without a word.
        loop.add_signal_handler(
            signal.SIGQUIT, self._fail, "a process of SGLang failed (its reason is above)"
        )
        self._owner = _Owner(lambda: _launch(self._options), loop)
        self.engine = await self._owner.started
        if self.engine.tokenizer_manager is None:
            raise RuntimeError("the node with rank 0 ended, and this one belonged to it")
        self.manager = self.engine.tokenizer_manager
        self.manager.auto_create_handle_loop()
        loop.add_signal_handler(
            signal.SIGQUIT, self._fail, "a process of SGLang failed (its reason is above)"
        )
        self._watch_children()

    async def stop(self) -> None:
        """Kills every child. Safe to call twice."""
        if self._owner is None:
            return
        owner, self._owner = self._owner, None
        loop = asyncio.get_running_loop()
        for watched in self._children:
            loop.remove_reader(watched)
            os.close(watched)
        self._children.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await owner.end()

    async def wait_failed(self) -> str:
        return await asyncio.shield(self._failure)

    @property
    def has_failed(self) -> bool:
        return self._failure.done()

    async def generate(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """Raises InvalidRequest where SGLang refuses the request before it runs. Closing it aborts."""
        try:
            # Typed there as one answer or a stream of them.
            chunks = cast(AsyncGenerator[Chunk, None], await self.engine.async_generate(**call, stream=True))
            try:
                async for chunk in chunks:
                    yield chunk
            finally:
                await chunks.aclose()
        except (ValueError, TypeError) as error:
            raise InvalidRequest(str(error)) from error

    async def embed(self, request_id: str, ids: Sequence[int]) -> list[float]:
        from sglang.srt.managers.io_struct import EmbeddingReqInput

        # Engine.async_encode takes text only.
        answers = self.manager.generate_request(EmbeddingReqInput(input_ids=list(ids), rid=request_id), None)
        try:
            async for answer in answers:
                return cast("list[float]", answer["embedding"])
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
        finally:
            await answers.aclose()
        raise EngineFailed("SGLang ended an embedding without an answer")

    def in_flight(self) -> set[str]:
        """Exactly the requests that SGLang has not let go of, in whatever phase."""
        return set(self.manager.rid_to_state)

    def load(self) -> EngineLoad:
        return read_load(self.manager.load_snapshot_reader.read_all())

    def _watch_children(self) -> None:
        loop = asyncio.get_running_loop()
        for pid in self.engine.get_all_child_pids():
            watched = os.pidfd_open(pid)
            self._children.append(watched)
            loop.add_reader(watched, self._child_ended, watched, pid)

    def _child_ended(self, watched: int, pid: int) -> None:
        # Without reaping it: that is multiprocessing's.
        ended = os.waitid(os.P_PIDFD, watched, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        how = "" if ended is None else f" ({_describe(ended)})"
        asyncio.get_running_loop().remove_reader(watched)
        self._fail(f"SGLang's process {pid} died{how}")

    def _fail(self, reason: str) -> None:
        if not self._failure.done():
            self._failure.set_result(reason)


def _describe(ended: os.waitid_result) -> str:
    if ended.si_code == os.CLD_EXITED:
        return f"exit status {ended.si_status}"
    name = signal.Signals(ended.si_status).name
    return f"{name}: out of memory?" if ended.si_status == signal.SIGKILL else name


def _launch(options: SglangOptions) -> sglang.Engine:
    on_cpu = environment.prepare(options.threads)
    with environment.own_logs():
        import sglang

        from engine_worker.engines.sglang.upstream.arguments import server_args

        return sglang.Engine(server_args=server_args(options, on_cpu))


def _kill_children() -> None:
    """A young child does not know yet that it should end with its parent."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()


class _Owner:
    """The thread that makes the engine and ends it.

    It lives as long as the engine: Linux ends SGLang's processes with the thread that started them.
    """

    def __init__(self, make: Callable[[], sglang.Engine], loop: asyncio.AbstractEventLoop) -> None:
        self._make = make
        self._loop = loop
        self._wanted = threading.Event()
        self._made = threading.Event()
        self.started: asyncio.Future[sglang.Engine] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
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
            self._made.set()
            self._deliver(lambda: self.started.set_exception(error), self.started)
            return
        self._made.set()
        self._deliver(lambda: self.started.set_result(engine), self.started)
        self._wanted.wait()
        engine.shutdown()
        self._deliver(lambda: self._ended.set_result(None), self._ended)

    def _deliver(self, settle: Callable[[], None], future: asyncio.Future[Result]) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(lambda: None if future.done() else settle())
