"""The simulator's jobs, and which of them wait, prefill and decode."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

from drover.errors import DroverError, QueueFull
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.config import SimulatorConfig
from engine_worker.engines.simulator.output import Finish, SimulatedOutput, add_earlier
from engine_worker.engines.simulator.prefix_cache import BlockChain
from engine_worker.output.mailbox import Mailbox


@dataclass(eq=False, slots=True)
class Job:
    """One request in the scheduler.

    `kv_tokens` is its share of the KV cache while it runs. `output` is None for an embedding and for scores,
    which are only prefilled. `keeps_prefix` is False for an embedding: it does not use the prefix cache.
    """

    prompt_ids: list[int]
    kv_tokens: int
    mailbox: Mailbox
    output: SimulatedOutput | None
    chain: BlockChain
    earlier: pb.Continuation | None = None
    keeps_prefix: bool = True
    cached_tokens: int = 0
    position: int = 0
    """Prompt tokens that are computed or were cached."""
    begun: bool = False
    resume_timer: asyncio.TimerHandle | None = None
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Done when its mailbox has the end of the answer, or else with an error."""
    _arrived_ns: int = field(default_factory=time.perf_counter_ns)
    _begun_ns: int = 0
    _prefilled_ns: int = 0

    def begin(self, cached_tokens: int) -> None:
        """Start the first prefill step."""
        self.begun = True
        self.cached_tokens = self.position = cached_tokens
        if self.output is not None:
            self.output.begin(cached_tokens)
        self._begun_ns = time.perf_counter_ns()

    def prefilled(self) -> None:
        self._prefilled_ns = time.perf_counter_ns()

    def finish(self, finish: Finish) -> None:
        output = self.output
        done = pb.Done(
            finish_reason=finish.reason,
            prompt_tokens=len(self.prompt_ids),
            cached_tokens=self.cached_tokens,
            completion_tokens=output.completion_tokens if output else 0,
            reasoning_tokens=output.reasoning_tokens if output else 0,
            timings=self._timings(),
        )
        if finish.matched_stop is not None:
            done.matched_stop = finish.matched_stop
        if self.earlier is not None:
            add_earlier(done, self.earlier)
        self.mailbox.done(done)
        if not self.ended.done():
            self.ended.set_result(None)

    def fail(self, error: DroverError) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)

    def _timings(self) -> pb.Timings:
        """The phases' durations, at least 1 ns each: clients read 0 as "did not happen"."""
        decoded = self.output is not None and self.output.completion_tokens > 0
        return pb.Timings(
            queue_ns=max(1, self._begun_ns - self._arrived_ns),
            prefill_ns=max(1, self._prefilled_ns - self._begun_ns),
            decode_ns=max(1, time.perf_counter_ns() - self._prefilled_ns) if decoded else 0,
        )


# A dict as an ordered set: jobs keep their order, and any of them is removed at constant cost.
Jobs = dict[Job, None]


class BatchState:
    """The queue and the batch: a job is waiting, prefilling, decoding or parked (stalled or pausing).

    `work` is set whenever a job starts to prefill or to decode.
    """

    def __init__(self, config: SimulatorConfig) -> None:
        self._config = config
        self.waiting: Jobs = {}
        self.prefilling: Jobs = {}
        self.decoding: Jobs = {}
        self._parked: Jobs = {}
        self.waiting_prompt_tokens = 0
        self.kv_tokens_used = 0
        self.work = asyncio.Event()

    @property
    def running(self) -> int:
        return len(self.prefilling) + len(self.decoding) + len(self._parked)

    def all_jobs(self) -> Iterator[Job]:
        return chain(self.waiting, self.prefilling, self.decoding, self._parked)

    def enter(self, job: Job) -> None:
        """Put a job into the batch if there is room, else into the queue. Raises QueueFull."""
        must_wait = bool(self.waiting) or not self._fits(job)
        if must_wait and len(self.waiting) >= self._config.queue_limit:
            raise QueueFull()
        self.waiting[job] = None
        self.waiting_prompt_tokens += len(job.prompt_ids)
        self._admit()

    def leave(self, job: Job) -> None:
        """Remove a job and free what it holds. Safe to call again."""
        if job.resume_timer is not None:
            job.resume_timer.cancel()
        if job in self.waiting:
            self._leave_queue(job)
        for jobs in (self.prefilling, self.decoding, self._parked):
            if job in jobs:
                del jobs[job]
                self.kv_tokens_used -= job.kv_tokens
        self._admit()

    def prefilled(self, job: Job) -> None:
        del self.prefilling[job]
        self.decoding[job] = None

    def stall(self, job: Job) -> None:
        """Keep a job in the batch without further steps."""
        self.prefilling.pop(job, None)
        self.decoding.pop(job, None)
        self._parked[job] = None

    def pause(self, job: Job, seconds: float) -> None:
        """Stall a job, and let it decode again after `seconds`."""
        self.stall(job)
        job.resume_timer = asyncio.get_running_loop().call_later(seconds, self._resume, job)

    def _resume(self, job: Job) -> None:
        del self._parked[job]
        self.decoding[job] = None
        self.work.set()

    def _fits(self, job: Job) -> bool:
        kv_tokens_free = self._config.kv_tokens - self.kv_tokens_used
        return self.running < self._config.running_limit and job.kv_tokens <= kv_tokens_free

    def _admit(self) -> None:
        """Admit jobs in order of arrival: a small one does not overtake a large one that does not fit yet."""
        while self.waiting and self._fits(job := next(iter(self.waiting))):
            self._leave_queue(job)
            self.kv_tokens_used += job.kv_tokens
            self.prefilling[job] = None
            self.work.set()

    def _leave_queue(self, job: Job) -> None:
        del self.waiting[job]
        self.waiting_prompt_tokens -= len(job.prompt_ids)
