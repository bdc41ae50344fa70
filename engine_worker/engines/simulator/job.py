"""One request in the scheduler."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator.answer import Answer, Finish
from engine_worker.engines.simulator.prefix_cache import Chain
from engine_worker.engines.simulator.resumed import add_earlier
from engine_worker.output.mailbox import Mailbox


@dataclass(eq=False, slots=True)
class Job:
    """`kv_tokens`: what it takes from the KV cache while it runs; `answer`: None if prefill is all."""

    prompt_ids: list[int]
    kv_tokens: int
    mailbox: Mailbox
    answer: Answer | None
    chain: Chain
    earlier: pb.Continuation | None = None
    cached_tokens: int = 0
    position: int = 0
    """Prompt tokens that are computed or were cached."""
    begun: bool = False
    resume_timer: asyncio.TimerHandle | None = None
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Its mailbox has the end; or the error why there is none."""
    _arrived_ns: int = field(default_factory=time.perf_counter_ns)
    _begun_ns: int = 0
    _prefilled_ns: int = 0

    def begin(self, cached_tokens: int) -> None:
        """The first prefill step starts."""
        self.begun = True
        self.cached_tokens = self.position = cached_tokens
        if self.answer is not None:
            self.answer.begin(cached_tokens)
        self._begun_ns = time.perf_counter_ns()

    def prefilled(self) -> None:
        self._prefilled_ns = time.perf_counter_ns()

    def finish(self, finish: Finish) -> None:
        answer = self.answer
        done = pb.Done(
            finish_reason=finish.reason,
            prompt_tokens=len(self.prompt_ids),
            cached_tokens=self.cached_tokens,
            completion_tokens=answer.completion_tokens if answer else 0,
            reasoning_tokens=answer.reasoning_tokens if answer else 0,
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
        """A phase that happened took a nanosecond at least: clients read 0 as "did not happen"."""
        decoded = self.answer is not None and self.answer.completion_tokens > 0
        return pb.Timings(
            queue_ns=max(1, self._begun_ns - self._arrived_ns),
            prefill_ns=max(1, self._prefilled_ns - self._begun_ns),
            decode_ns=max(1, time.perf_counter_ns() - self._prefilled_ns) if decoded else 0,
        )
