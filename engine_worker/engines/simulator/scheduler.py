"""Continuous batching: one task, one step after the other, a token for each running request in each step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from drover.errors import DroverError, EngineFailed, WorkerDraining
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.answer import Answer, Finish
from engine_worker.engines.simulator.events import Fail, Hang, Pause
from engine_worker.engines.simulator.job import Job
from engine_worker.engines.simulator.places import BatchState
from engine_worker.engines.simulator.prefix_cache import Chain, PrefixCache
from engine_worker.engines.simulator.shape import Shape


class Scheduler:
    """Owns the jobs that are held and the task that advances them."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._places = BatchState(shape)
        self._cache = PrefixCache(shape.kv_tokens, shape.block_tokens)
        self._prefill_tokens_done = 0
        self._decode_tokens_done = 0
        self._cached_tokens_done = 0
        self._step_end = 0.0  # in the event loop's time, seconds
        self._task: asyncio.Task[None] | None = None
        self._refusal: DroverError | None = WorkerDraining("the engine is not started")
        self._broken = asyncio.Event()
        self._reason = ""
        self._hang_seconds = 0.0

    def start(self) -> None:
        self._refusal = None
        self._task = asyncio.create_task(self._run(), name="simulator")
        self._task.add_done_callback(self._ended)

    async def stop(self) -> None:
        """Jobs that are still here fail with WorkerDraining, and so do those to come."""
        self._refuse_all(WorkerDraining("the worker is going away"))
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def wait_broken(self) -> str:
        """Returns, with the reason, if the loop ends by a fault."""
        await self._broken.wait()
        return self._reason

    def chain(self, salt: str) -> Chain:
        """For a new job. Jobs with different salts never share cached blocks."""
        return self._cache.chain(salt)

    def forget_prefixes(self) -> None:
        """While no job is held."""
        self._cache = PrefixCache(self._shape.kv_tokens, self._shape.block_tokens)

    @contextmanager
    def holding(self, job: Job) -> Iterator[None]:
        """The job is the scheduler's until the block ends. Raises QueueFull, WorkerDraining, EngineFailed."""
        if self._refusal is not None:
            raise type(self._refusal)(self._refusal.message)
        self._places.enter(job)
        try:
            yield
        finally:
            self._places.leave(job)

    def report(self) -> pb.LoadReport:
        """KV tokens count as used from admission to the end, as many as the request can come to need."""
        places = self._places
        prompt_tokens_done = self._cached_tokens_done + self._prefill_tokens_done
        return pb.LoadReport(
            running=places.running,
            running_limit=self._shape.running_limit,
            waiting=len(places.waiting),
            waiting_prompt_tokens=places.waiting_prompt_tokens,
            kv_tokens_used=places.kv_tokens_used,
            kv_tokens_total=self._shape.kv_tokens,
            prefill_tokens_done=self._prefill_tokens_done,
            decode_tokens_done=self._decode_tokens_done,
            cached_tokens_done=self._cached_tokens_done,
            cache_hit_rate=self._cached_tokens_done / prompt_tokens_done if prompt_tokens_done else 0.0,
        )

    async def _run(self) -> None:
        self._begin_now()
        while True:
            chunks = self._plan_prefill()
            if chunks or self._places.decoding:
                await self._pass_time(chunks)
                self._prefill(chunks)
                self._decode()
                await self._hang()
            else:
                await self._wait_for_work()

    async def _hang(self) -> None:
        if self._hang_seconds:
            seconds, self._hang_seconds = self._hang_seconds, 0.0
            await asyncio.sleep(seconds)
            self._begin_now()

    async def _wait_for_work(self) -> None:
        self._places.work.clear()
        await self._places.work.wait()
        self._begin_now()

    def _begin_now(self) -> None:
        self._step_end = asyncio.get_running_loop().time()

    async def _pass_time(self, chunks: dict[Job, int]) -> None:
        """Until the step's end. Steps follow each other without drift; lost time is never made good."""
        shape = self._shape
        taking_part = len(self._places.decoding) + len(chunks)
        milliseconds = shape.decode_step_base_ms + shape.decode_step_per_running_ms * taking_part
        prefill_seconds = sum(chunks.values()) / shape.prefill_tokens_per_second
        now = asyncio.get_running_loop().time()
        self._step_end = max(now, self._step_end + milliseconds / 1000 + prefill_seconds)
        await asyncio.sleep(self._step_end - now)

    def _plan_prefill(self) -> dict[Job, int]:
        """How many tokens of whom this step computes, oldest first."""
        chunks: dict[Job, int] = {}
        left = self._shape.prefill_chunk_tokens
        for job in list(self._places.prefilling):
            if left == 0:
                break
            if not job.begun:
                self._begin(job)
            tokens = min(left, self._prefill_end(job) - job.position)
            if tokens > 0:
                chunks[job] = tokens
                left -= tokens
            else:
                self._places.stall(job)
        return chunks

    def _begin(self, job: Job) -> None:
        if job.answer is not None:
            job.chain.extend(job.prompt_ids)
        job.begin(self._cache.cached_tokens(job.chain, len(job.prompt_ids)))
        self._cached_tokens_done += job.cached_tokens

    def _prefill_end(self, job: Job) -> int:
        stall = self._shape.stall_prefill_after_tokens
        length = len(job.prompt_ids)
        return length if stall is None else min(length, stall)

    def _prefill(self, chunks: dict[Job, int]) -> None:
        for job, tokens in chunks.items():
            if job not in self._places.prefilling:
                continue  # cancelled during the step
            self._prefill_tokens_done += tokens
            job.position += tokens
            if job.position == len(job.prompt_ids):
                self._end_prefill(job)

    def _end_prefill(self, job: Job) -> None:
        job.prefilled()
        if job.answer is None:
            self._finish(job, Finish(pb.Done.STOP))
        else:
            self._cache.add(job.chain)
            self._places.prefilled(job)

    def _decode(self) -> None:
        stall = self._shape.stall_decode_after_tokens
        for job in list(self._places.decoding):
            answer = job.answer
            assert answer is not None
            if stall is not None and answer.completion_tokens >= stall:
                self._places.stall(job)
            else:
                self._advance(job, answer)

    def _advance(self, job: Job, answer: Answer) -> None:
        before = answer.completion_tokens
        outcome = answer.advance()
        self._decode_tokens_done += answer.completion_tokens - before
        if outcome is None:
            return
        match outcome:
            case Pause(milliseconds):
                self._places.pause(job, milliseconds / 1000)
            case Hang(milliseconds):
                self._hang_seconds = max(self._hang_seconds, milliseconds / 1000)
            case Fail(message):
                self._places.leave(job)
                job.fail(EngineFailed(message))
            case Finish():
                job.chain.extend(job.prompt_ids + answer.produced_ids)
                self._cache.add(job.chain)
                self._finish(job, outcome)

    def _finish(self, job: Job, finish: Finish) -> None:
        self._places.leave(job)
        job.finish(finish)

    def _refuse_all(self, error: DroverError) -> None:
        """Ends all jobs, and refuses those to come."""
        self._refusal = error
        for job in list(self._places.everyone()):
            self._places.leave(job)
            job.fail(type(error)(error.message))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        self._reason = f"the simulator's loop broke: {task.exception()!r}"
        self._refuse_all(EngineFailed(self._reason))
        self._broken.set()
