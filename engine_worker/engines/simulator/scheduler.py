"""Continuous batching: one task, one step after the other, a token for each running request in each step."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from drover.errors import DroverError, EngineFailed, WorkerDraining
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.batch import BatchState, Job
from engine_worker.engines.simulator.config import SimulatorConfig
from engine_worker.engines.simulator.output import Finish, SimulatedOutput
from engine_worker.engines.simulator.prefix_cache import BlockChain, PrefixCache
from engine_worker.engines.simulator.script import Fail, Hang, Pause


class Scheduler:
    """Owns the batch and the task that runs its steps."""

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self._batch = BatchState(config)
        self._cache = PrefixCache(config.kv_tokens, config.block_tokens)
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
        """Fail all jobs, and those that come later, with WorkerDraining."""
        self._refuse_all(WorkerDraining("the worker is going away"))
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def wait_broken(self) -> str:
        """Wait until the task fails, and return the reason."""
        await self._broken.wait()
        return self._reason

    def chain(self, salt: str) -> BlockChain:
        """Return the chain of a new job. Jobs with different salts never share cached blocks."""
        return self._cache.chain(salt)

    def forget_prefixes(self) -> None:
        """Empty the prefix cache. Only while there are no jobs."""
        self._cache = PrefixCache(self._config.kv_tokens, self._config.block_tokens)

    @contextmanager
    def holding(self, job: Job) -> Iterator[None]:
        """Run a job until the context ends. Raises QueueFull, WorkerDraining, EngineFailed."""
        if self._refusal is not None:
            raise type(self._refusal)(self._refusal.message)
        self._batch.enter(job)
        try:
            yield
        finally:
            self._batch.leave(job)

    def report(self) -> pb.LoadReport:
        """KV tokens count from admission to the end, as many as the request may need at most."""
        batch = self._batch
        prompt_tokens_done = self._cached_tokens_done + self._prefill_tokens_done
        return pb.LoadReport(
            running=batch.running,
            running_limit=self._config.running_limit,
            waiting=len(batch.waiting),
            waiting_prompt_tokens=batch.waiting_prompt_tokens,
            kv_tokens_used=batch.kv_tokens_used,
            kv_tokens_total=self._config.kv_tokens,
            prefill_tokens_done=self._prefill_tokens_done,
            decode_tokens_done=self._decode_tokens_done,
            cached_tokens_done=self._cached_tokens_done,
            cache_hit_rate=self._cached_tokens_done / prompt_tokens_done if prompt_tokens_done else 0.0,
        )

    async def _run(self) -> None:
        self._begin_now()
        while True:
            chunks = self._plan_prefill()
            if chunks or self._batch.decoding:
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
        self._batch.work.clear()
        await self._batch.work.wait()
        self._begin_now()

    def _begin_now(self) -> None:
        self._step_end = asyncio.get_running_loop().time()

    async def _pass_time(self, chunks: dict[Job, int]) -> None:
        """Wait until the step's end. Steps do not drift, and time that was lost is not caught up."""
        config = self._config
        taking_part = len(self._batch.decoding) + len(chunks)
        milliseconds = config.decode_step_base_ms + config.decode_step_per_running_ms * taking_part
        prefill_seconds = sum(chunks.values()) / config.prefill_tokens_per_second
        now = asyncio.get_running_loop().time()
        self._step_end = max(now, self._step_end + milliseconds / 1000 + prefill_seconds)
        await asyncio.sleep(self._step_end - now)

    def _plan_prefill(self) -> dict[Job, int]:
        """The prompt tokens that this step computes of each job, oldest job first."""
        chunks: dict[Job, int] = {}
        left = self._config.prefill_chunk_tokens
        for job in list(self._batch.prefilling):
            if left == 0:
                break
            if not job.begun:
                self._begin(job)
            tokens = min(left, self._prefill_end(job) - job.position)
            if tokens > 0:
                chunks[job] = tokens
                left -= tokens
            else:
                self._batch.stall(job)
        return chunks

    def _begin(self, job: Job) -> None:
        if job.keeps_prefix:
            job.chain.extend(job.prompt_ids)
        job.begin(self._cache.cached_tokens(job.chain, len(job.prompt_ids)))
        self._cached_tokens_done += job.cached_tokens

    def _prefill_end(self, job: Job) -> int:
        stall = self._config.stall_prefill_after_tokens
        length = len(job.prompt_ids)
        return length if stall is None else min(length, stall)

    def _prefill(self, chunks: dict[Job, int]) -> None:
        for job, tokens in chunks.items():
            if job not in self._batch.prefilling:
                continue  # cancelled during the step
            self._prefill_tokens_done += tokens
            job.position += tokens
            if job.position == len(job.prompt_ids):
                self._end_prefill(job)

    def _end_prefill(self, job: Job) -> None:
        job.prefilled()
        if job.keeps_prefix:
            self._cache.add(job.chain)
        if job.output is None:
            self._finish(job, Finish(pb.Done.STOP))
        else:
            self._batch.prefilled(job)

    def _decode(self) -> None:
        stall = self._config.stall_decode_after_tokens
        for job in list(self._batch.decoding):
            output = job.output
            assert output is not None
            if stall is not None and output.completion_tokens >= stall:
                self._batch.stall(job)
            else:
                self._advance(job, output)

    def _advance(self, job: Job, output: SimulatedOutput) -> None:
        before = output.completion_tokens
        outcome = output.advance()
        self._decode_tokens_done += output.completion_tokens - before
        if outcome is None:
            return
        match outcome:
            case Pause(milliseconds):
                self._batch.pause(job, milliseconds / 1000)
            case Hang(milliseconds):
                self._hang_seconds = max(self._hang_seconds, milliseconds / 1000)
            case Fail(message):
                self._batch.leave(job)
                job.fail(EngineFailed(message))
            case Finish():
                job.chain.extend(job.prompt_ids + output.produced_ids)
                self._cache.add(job.chain)
                self._finish(job, outcome)

    def _finish(self, job: Job, finish: Finish) -> None:
        self._batch.leave(job)
        job.finish(finish)

    def _refuse_all(self, error: DroverError) -> None:
        """Fail all jobs, and refuse new ones."""
        self._refusal = error
        for job in list(self._batch.all_jobs()):
            self._batch.leave(job)
            job.fail(type(error)(error.message))

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        self._reason = f"the simulator's task failed: {task.exception()!r}"
        self._refuse_all(EngineFailed(self._reason))
        self._broken.set()
