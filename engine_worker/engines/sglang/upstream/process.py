"""`sglang.Engine` with its child processes: started, watched, asked and ended."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, TypedDict, cast

from drover.errors import ContextExceeded, DroverError, EngineFailed, InvalidRequest, QueueFull
from engine_worker.engines.sglang.options import SglangOptions
from engine_worker.engines.sglang.upstream import environment
from engine_worker.engines.sglang.upstream.children import Children
from engine_worker.engines.sglang.upstream.loads import EngineLoad, read_load
from engine_worker.engines.sglang.upstream.owner import EngineOwner

if TYPE_CHECKING:
    import sglang

_STOP_SECONDS = 60.0
_CHILD_FAILED = "a process of SGLang failed (its reason is above)"


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
        self._owner: EngineOwner | None = None
        self._children = Children(self._fail)
        self._failure: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        """Blocks nobody for the minutes that it may take. Raises ValueError or RuntimeError."""
        # A child that fails tells its parent so, and by default that would be the end without a word.
        asyncio.get_running_loop().add_signal_handler(signal.SIGQUIT, self._fail, _CHILD_FAILED)
        self._owner = EngineOwner(lambda: _launch(self._options))
        await asyncio.wait({self._owner.started, self._failure}, return_when=asyncio.FIRST_COMPLETED)
        if not self._owner.started.done():
            raise RuntimeError(self._failure.result())
        self.engine = self._owner.started.result()
        if self.engine.tokenizer_manager is None:
            raise RuntimeError("the node with rank 0 ended, and this one belonged to it")
        self.manager = self.engine.tokenizer_manager
        self.manager.signal_handler_class = lambda manager: _Signals(self._fail)
        self.manager.auto_create_handle_loop()
        self._children.watch(self.engine.get_all_child_pids())

    async def stop(self) -> None:
        """Kills every child. Safe to call twice."""
        if self._owner is None:
            return
        owner, self._owner = self._owner, None
        self._children.forget()
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                await owner.end()
        environment.clean_up()

    async def wait_failed(self) -> str:
        return await asyncio.shield(self._failure)

    async def generate(self, call: Call, take: Callable[[Chunk], bool]) -> None:
        """Hands the chunks of an answer to `take` until that says it is over; where the answer is not over
        for SGLang, or this is cancelled, the request is aborted. A function to call costs less for each token
        than one more generator between SGLang's and the reader.

        Raises InvalidRequest where SGLang refuses the request before it runs, and what `take` raises.
        """
        is_taking = False
        try:
            # Typed there as one answer or a stream of them.
            chunks = cast(AsyncGenerator[Chunk, None], await self.engine.async_generate(**call, stream=True))
            async with aclosing(chunks):
                async for chunk in chunks:
                    is_taking = True
                    if take(chunk):
                        return
                    is_taking = False
        except (ValueError, TypeError, RuntimeError) as error:
            if is_taking:
                raise
            raise _refusal(call, error) from error

    async def embed(self, request_id: str, ids: Sequence[int]) -> list[float]:
        from fastapi import HTTPException
        from sglang.srt.managers.io_struct import EmbeddingReqInput

        # Engine.async_encode takes text only.
        answers = self.manager.generate_request(EmbeddingReqInput(input_ids=list(ids), rid=request_id), None)
        try:
            async for answer in answers:
                if "embedding" in answer:
                    return cast("list[float]", answer["embedding"])
        except ValueError as error:
            raise InvalidRequest(str(error)) from error
        except HTTPException as error:
            raise _unavailable(error.status_code, str(error.detail)) from error
        finally:
            await answers.aclose()
        raise EngineFailed("SGLang ended an embedding without an answer")

    def in_flight(self) -> set[str]:
        """Exactly the requests that SGLang has not let go of, in whatever phase."""
        return set(self.manager.rid_to_state)

    def load(self) -> EngineLoad:
        return read_load(self.manager.load_snapshot_reader.read_all())

    def _fail(self, reason: str) -> None:
        if not self._failure.done():
            self._failure.set_result(reason)


class _Signals:
    """In the place of SGLang's own handlers, which would drain and exit past the worker."""

    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed

    def sigterm_handler(self, number: int | None = None, frame: object = None) -> None:
        """Until the worker takes SIGTERM back, it hears of it as SIGINT, which it treats alike."""
        os.kill(os.getpid(), signal.SIGINT)

    def running_phase_sigquit_handler(self, number: int | None = None, frame: object = None) -> None:
        self._failed(_CHILD_FAILED)


def _refusal(call: Call, error: Exception) -> DroverError:
    message = str(error)
    if isinstance(error, RuntimeError):
        # What reads images raises it for images that it does not like.
        return InvalidRequest(message) if "image_data" in call else EngineFailed(message)
    return ContextExceeded(message) if "context length" in message else InvalidRequest(message)


def _unavailable(status: int, message: str) -> DroverError:
    return QueueFull() if status == 503 else EngineFailed(f"SGLang gave the request up: {message}")


def _launch(options: SglangOptions) -> sglang.Engine:
    on_cpu = environment.prepare(options.threads, options.embed)
    with environment.own_logs():
        import sglang

        from engine_worker.engines.sglang.upstream.arguments import server_args

        return sglang.Engine(server_args=server_args(options, on_cpu))
