"""Stalls: workers that answer health checks and produce nothing. Slow ones must not be taken for stalled."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from contextlib import aclosing

from drover.errors import DroverError, RetryElsewhere
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import Worker
from frontend.routing.backends.delivery import events_of

# The slowest prefill in practice: a large model on a small CPU.
_MIN_PREFILL_TOKENS_PER_SECOND = 20.0
_PROBE_SECONDS = 10.0


class StallDetector:
    """Suspects a stall from a worker's load reports.

    `stall_seconds`: how long a worker with requests may produce nothing. Prompt tokens that wait for prefill
    extend it, since one prefill step may take many of them. 0 disables it.
    """

    def __init__(self, stall_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._stall_seconds = stall_seconds
        self._now = now
        self._tokens_done = -1
        self.since = now()
        """When the worker made progress last, or had no work (of `now`)."""

    def is_stalled(self, report: pb.LoadReport) -> bool:
        """Call with each report. True is a suspicion only: some engines count a prompt not before its end."""
        done = report.prefill_tokens_done + report.decode_tokens_done + report.cached_tokens_done
        has_work = report.loaded and report.running + report.waiting > 0
        if done != self._tokens_done or not has_work:
            self._tokens_done, self.since = done, self._now()
        limit = self._stall_seconds + report.waiting_prompt_tokens / _MIN_PREFILL_TOKENS_PER_SECOND
        return self._stall_seconds > 0 and self._now() - self.since > limit


async def is_responsive(worker: Worker) -> bool:
    """Whether the worker answers a request for one token in time. A refusal proves it too."""
    request = pb.GenerateRequest(
        request_id=secrets.token_hex(16), raw="probe", sampling=pb.Sampling(max_tokens=1, temperature=0)
    )
    handle = worker.submit(request, "probe")
    try:
        async with asyncio.timeout(_PROBE_SECONDS), aclosing(events_of(handle)) as events:
            async for event in events:
                if event.HasField("done"):
                    return True
    except (RetryElsewhere, TimeoutError):
        return False
    except DroverError:
        return True
    finally:
        handle.cancel()
    return False
