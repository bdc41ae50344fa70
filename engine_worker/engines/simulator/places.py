"""Where the jobs of an engine are: in the queue, or in the batch with their share of the KV cache."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import chain

from drover.errors import QueueFull
from engine_worker.engines.simulator.job import Job
from engine_worker.engines.simulator.shape import Shape

# A dict and not a set: jobs keep their order, and one in the middle leaves at no cost.
Jobs = dict[Job, None]


class BatchState:
    """A job is waiting, prefilling, decoding or parked (stalled or pausing), one of them at a time.

    `work` is set whenever a job comes to prefilling or decoding.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
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

    def everyone(self) -> Iterator[Job]:
        return chain(self.waiting, self.prefilling, self.decoding, self._parked)

    def enter(self, job: Job) -> None:
        """Into the batch if there is room, else into the queue. Raises QueueFull."""
        must_wait = bool(self.waiting) or not self._fits(job)
        if must_wait and len(self.waiting) >= self._shape.queue_limit:
            raise QueueFull()
        self.waiting[job] = None
        self.waiting_prompt_tokens += len(job.prompt_ids)
        self._admit()

    def leave(self, job: Job) -> None:
        """Frees what the job holds, wherever it is. Nothing happens if it is gone already."""
        if job.resume_timer is not None:
            job.resume_timer.cancel()
        if job in self.waiting:
            self._leave_queue(job)
        for place in (self.prefilling, self.decoding, self._parked):
            if job in place:
                del place[job]
                self.kv_tokens_used -= job.kv_tokens
        self._admit()

    def prefilled(self, job: Job) -> None:
        del self.prefilling[job]
        self.decoding[job] = None

    def stall(self, job: Job) -> None:
        """It keeps its place in the batch and takes no more part in steps."""
        self.prefilling.pop(job, None)
        self.decoding.pop(job, None)
        self._parked[job] = None

    def pause(self, job: Job, seconds: float) -> None:
        """As `stall`, but it goes on decoding after that time."""
        self.stall(job)
        job.resume_timer = asyncio.get_running_loop().call_later(seconds, self._resume, job)

    def _resume(self, job: Job) -> None:
        del self._parked[job]
        self.decoding[job] = None
        self.work.set()

    def _fits(self, job: Job) -> bool:
        kv_tokens_free = self._shape.kv_tokens - self.kv_tokens_used
        return self.running < self._shape.running_limit and job.kv_tokens <= kv_tokens_free

    def _admit(self) -> None:
        """First come, first served: a small job does not overtake a large one that does not fit yet."""
        while self.waiting and self._fits(job := next(iter(self.waiting))):
            self._leave_queue(job)
            self.kv_tokens_used += job.kv_tokens
            self.prefilling[job] = None
            self.work.set()

    def _leave_queue(self, job: Job) -> None:
        del self.waiting[job]
        self.waiting_prompt_tokens -= len(job.prompt_ids)
