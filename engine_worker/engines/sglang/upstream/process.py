"""`sglang.Engine` and its child processes: start, watch, use and stop them."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, TypeVar, cast

import psutil

from drover.errors import ContextExceeded, DroverError, EngineFailed, InvalidRequest, QueueFull
from engine_worker.engines.sglang.options import SglangOptions
from engine_worker.engines.sglang.upstream import environment, tracing
from engine_worker.engines.sglang.upstream.calls import Chunk, Meta, SglangRequest, SglangScoreRequest
from engine_worker.engines.sglang.upstream.loads import EngineLoad, read_load

if TYPE_CHECKING:
    import sglang
    from sglang.srt.managers.io_struct import EmbeddingReqInput

Result = TypeVar("Result")
_STOP_SECONDS = 60.0
# Longest time for requests that were aborted to end, and for a model's memory to be freed or taken again.
_IDLE_SECONDS = 30.0
_RELEASE_SECONDS = _RESUME_SECONDS = 120.0
# Beyond what SGLang waits by itself.
_ANSWER_SECONDS = 10.0
_CHILD_FAILED = "a process of SGLang failed (see its log lines above)"


class EngineProcess:
    """The running SGLang engine: its scheduler and detokenizer processes and its tokenizer manager here."""

    def __init__(self, options: SglangOptions) -> None:
        self._options = options
        self._thread: EngineThread | None = None
        self._children = ChildWatcher(self._fail)
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Start the engine without blocking the event loop; it may take minutes.

        Raises ValueError or RuntimeError.
        """
        # A child that fails sends its parent SIGQUIT, which by default ends the process without a message.
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, self._fail, _CHILD_FAILED)
        self._thread = EngineThread(lambda: _launch(self._options))
        await asyncio.wait({self._thread.started, self._failure}, return_when=asyncio.FIRST_COMPLETED)
        if not self._thread.started.done():
            raise RuntimeError(self._failure.result())
        self.engine = self._thread.started.result()
        if self.engine.tokenizer_manager is None:
            raise RuntimeError("the node with rank 0, which this node belongs to, has ended")
        self.manager = self.engine.tokenizer_manager
        self.manager.signal_handler_class = lambda manager: _Signals(self._fail)
        self.manager.auto_create_handle_loop()
        self._children.watch(self.engine.get_all_child_pids())

    async def stop(self) -> None:
        """Kill every child process. Safe to call twice."""
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        self._children.forget()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await thread.end()
        environment.clean_up()

    async def wait_failed(self) -> str:
        return await asyncio.shield(self._failure)

    async def generate(self, request: SglangRequest, on_chunk: Callable[[Chunk], bool]) -> None:
        """Call `on_chunk` with each chunk of the answer until it returns True.

        If SGLang still generates then, or this is cancelled, the request is aborted. (A callback costs less
        for each token than a further generator.)

        Raises InvalidRequest if SGLang refuses the request before it runs, and what `on_chunk` raises.
        """
        in_callback = False
        try:
            # SGLang types the result as one answer or a stream of chunks.
            chunks = cast(
                AsyncGenerator[Chunk, None], await self.engine.async_generate(**request, stream=True)
            )
            async with aclosing(chunks):
                async for chunk in chunks:
                    in_callback = True
                    if on_chunk(chunk):
                        return
                    in_callback = False
        except (ValueError, TypeError, RuntimeError) as error:
            if in_callback:
                raise
            raise _refusal("image_data" in request, error) from error

    async def score(self, request: SglangScoreRequest) -> list[Meta]:
        """Prefill prompts and return what SGLang reports of each, the log probabilities of its
        `token_ids_logprob` included.

        This is the request that Engine.async_score makes, which itself has neither ids to abort by nor the
        cached tokens. Cancelling it aborts its prompts. Raises InvalidRequest, ContextExceeded.
        """
        try:
            answers = cast(
                list[Chunk],
                await self.engine.async_generate(
                    **request,
                    return_logprob=True,
                    logprob_start_len=-1,
                    sampling_params={"max_new_tokens": 0},
                    stream=False,
                ),
            )
        except (ValueError, TypeError, RuntimeError) as error:
            raise _refusal("image_data" in request, error) from error
        return [answer["meta_info"] for answer in answers]

    async def embed(self, request_id: str, ids: Sequence[int], trace: Mapping[str, str]) -> list[float]:
        """`trace`: W3C's headers of the request's trace, perhaps none."""
        from sglang.srt.managers.io_struct import EmbeddingReqInput

        # Engine.async_encode takes only text.
        return await self._vector(
            EmbeddingReqInput(input_ids=list(ids), rid=request_id, external_trace_header=dict(trace) or None)
        )

    async def score_pair(self, request_id: str, query: str, document: str, trace: Mapping[str, str]) -> float:
        """The score of a classifier with one class.

        This is the request that Engine.rerank makes, which blocks. Its texts become tokens here, since
        SGLang takes the numbers of the two segments with none.
        """
        from sglang.srt.managers.io_struct import EmbeddingReqInput

        pair = EmbeddingReqInput(
            text=[[query, document]],
            is_cross_encoder_request=True,
            rid=[request_id],
            external_trace_header=dict(trace) or None,
        )
        return (await self._vector(pair))[0]

    async def _vector(self, request: EmbeddingReqInput) -> list[float]:
        from fastapi import HTTPException

        answers = self.manager.generate_request(request, None)
        try:
            async for answer in answers:
                # A list where the request is one of several texts.
                one = answer[0] if isinstance(answer, list) else answer
                if "embedding" in one:
                    vector = one["embedding"]
                    return vector if isinstance(vector, list) else [vector]
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
        except HTTPException as error:
            raise _unavailable(error.status_code, str(error.detail)) from error
        finally:
            await answers.aclose()
        raise EngineFailed("SGLang's stream ended without an embedding")

    async def load_adapter(self, name: str, folder: str) -> None:
        """Load an adapter. Raises InvalidRequest if SGLang cannot use it."""
        # A failure is a result, no exception.
        result = await self.engine.async_load_lora_adapter(name, folder)
        if not result.success:
            raise InvalidRequest(f"adapters: SGLang cannot load the adapter: {result.error_message}")

    async def unload_adapter(self, name: str) -> None:
        """Unload an adapter once the requests that use it have ended. Raises EngineFailed."""
        result = await self.engine.async_unload_lora_adapter(name)
        if not result.success:
            raise EngineFailed(f"SGLang did not unload the adapter: {result.error_message}")

    async def release_memory(self) -> None:
        """Free the device's memory of weights and KV cache, of an engine that was started for it. Raises
        EngineFailed if a request does not end, and the memory is kept, or if SGLang does not answer.
        """
        from sglang.srt.managers.io_struct import FlushCacheReqInput, ReleaseMemoryOccupationReqInput

        # A scheduler that is not idle would end itself, and an aborted request runs until its step ends.
        flush = FlushCacheReqInput(timeout_s=_IDLE_SECONDS)
        async with self._answering(_IDLE_SECONDS + _ANSWER_SECONDS, "say whether it is idle"):
            flushed = await self.manager.flush_cache_communicator(flush)
        if not all(each.success for each in flushed):
            raise EngineFailed(f"SGLang was not idle within {_IDLE_SECONDS:.0f} s, and keeps its memory")
        async with self._answering(_RELEASE_SECONDS, "release its memory"):
            await self.manager.release_memory_occupation(ReleaseMemoryOccupationReqInput(), None)

    async def resume_memory(self) -> None:
        """The reverse: the weights come back from the host's memory. An engine that cannot take its memory
        again has failed: raises EngineFailed.
        """
        from sglang.srt.managers.io_struct import ResumeMemoryOccupationReqInput

        async with self._answering(_RESUME_SECONDS, "take its memory again"):
            await self.manager.resume_memory_occupation(ResumeMemoryOccupationReqInput(), None)

    @asynccontextmanager
    async def _answering(self, seconds: float, what: str) -> AsyncGenerator[None, None]:
        """For a call that changes memory. An engine that does not answer in time has failed: what it has done
        is not known, and SGLang would let the next call wait for the same answer. Raises EngineFailed.
        """
        try:
            async with asyncio.timeout(seconds):
                yield
        except TimeoutError:
            reason = f"SGLang did not {what} within {seconds:.0f} s"
            self._fail(reason)
            raise EngineFailed(reason) from None

    def in_flight(self) -> set[str]:
        """Ids of all requests that SGLang has not forgotten, in whatever phase."""
        return set(self.manager.rid_to_state)

    def load(self) -> EngineLoad:
        return read_load(self.manager.load_snapshot_reader.read_all())

    def _fail(self, reason: str) -> None:
        if not self._failure.done():
            self._failure.set_result(reason)


class _Signals:
    """Replaces SGLang's own signal handlers, which would drain and exit without the worker."""

    def __init__(self, on_failure: Callable[[str], None]) -> None:
        self._on_failure = on_failure

    def sigterm_handler(self, number: int | None = None, frame: object = None) -> None:
        """Forward SIGTERM as SIGINT, which the worker treats alike, until it installs its own handler."""
        os.kill(os.getpid(), signal.SIGINT)

    def running_phase_sigquit_handler(self, number: int | None = None, frame: object = None) -> None:
        self._on_failure(_CHILD_FAILED)


def _refusal(has_images: bool, error: Exception) -> DroverError:
    message = str(error)
    if isinstance(error, RuntimeError):
        # SGLang's image processors raise it for images that they cannot read.
        return InvalidRequest(message) if has_images else EngineFailed(message)
    return ContextExceeded(message) if "context length" in message else InvalidRequest(message)


def _unavailable(status: int, message: str) -> DroverError:
    return QueueFull() if status == 503 else EngineFailed(f"SGLang aborted the request: {message}")


def _launch(options: SglangOptions) -> sglang.Engine:
    tracing.prepare(options.flags, os.environ)
    on_cpu = environment.prepare(options.threads, options.generates)
    with environment.own_logs():
        import sglang

        from engine_worker.engines.sglang.upstream.arguments import server_args

        return sglang.Engine(server_args=server_args(options, on_cpu))


_ABORT_START_SECONDS = 3.0
_KILL_INTERVAL_SECONDS = 0.05


class EngineThread:
    """The thread that starts and stops the engine.

    It lives as long as the engine, since Linux ends SGLang's processes with the thread that started them.
    """

    def __init__(self, launch: Callable[[], sglang.Engine]) -> None:
        self._launch = launch
        self._loop = asyncio.get_running_loop()
        self._stop_requested = threading.Event()
        self._launched = threading.Event()
        self.started: asyncio.Future[sglang.Engine] = self._loop.create_future()
        self._ended: asyncio.Future[None] = self._loop.create_future()
        threading.Thread(target=self._run, name="sglang", daemon=True).start()

    async def end(self) -> None:
        """Stop the engine. If start-up is still running, kill its children so that it fails."""
        self._stop_requested.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ABORT_START_SECONDS):
                while not self._launched.is_set():
                    _kill_children()
                    await asyncio.sleep(_KILL_INTERVAL_SECONDS)
        if self._launched.is_set() and not self.started.cancelled() and self.started.exception() is None:
            await self._ended

    def _run(self) -> None:
        try:
            engine = self._launch()
        except BaseException as raised:  # noqa: BLE001 - it is the result of `started`
            # SGLang exits the process when start-up fails.
            error = (
                RuntimeError("SGLang could not start (see its log lines above)")
                if isinstance(raised, SystemExit)
                else raised
            )
            self._deliver(lambda: self.started.set_exception(error), self.started)
            self._launched.set()
            return
        self._deliver(lambda: self.started.set_result(engine), self.started)
        self._launched.set()
        self._stop_requested.wait()
        engine.shutdown()
        self._deliver(lambda: self._ended.set_result(None), self._ended)

    def _deliver(self, settle: Callable[[], None], future: asyncio.Future[Result]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(lambda: None if future.done() else settle())


def _kill_children() -> None:
    """Kill all descendants: a child that just started does not end with its parent yet."""
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            child.kill()


class ChildWatcher:
    """Calls `on_failure` with the reason when a watched process ends."""

    def __init__(self, on_failure: Callable[[str], None]) -> None:
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._watched: set[int] = set()

    def watch(self, pids: Iterable[int]) -> None:
        for pid in pids:
            try:
                watched = os.pidfd_open(pid)
            except ProcessLookupError:
                self._on_failure(f"SGLang's process {pid} died")
                continue
            self._watched.add(watched)
            self._loop.add_reader(watched, self._ended, watched, pid)

    def forget(self) -> None:
        for watched in list(self._watched):
            self._unwatch(watched)

    def _ended(self, watched: int, pid: int) -> None:
        how = _how(watched)
        self._unwatch(watched)
        self._on_failure(f"SGLang's process {pid} died{how}")

    def _unwatch(self, watched: int) -> None:
        self._watched.discard(watched)
        self._loop.remove_reader(watched)
        os.close(watched)


def _how(watched: int) -> str:
    """How a process ended; empty unless it is a child that multiprocessing has not reaped yet."""
    ended = None
    with suppress(ChildProcessError):
        ended = os.waitid(os.P_PIDFD, watched, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return ""
    if ended.si_code == os.CLD_EXITED:
        return f" (exit status {ended.si_status})"
    name = signal.Signals(ended.si_status).name
    return f" ({name}: out of memory?)" if ended.si_status == signal.SIGKILL else f" ({name})"
