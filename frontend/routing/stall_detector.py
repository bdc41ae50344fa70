"""Whether a worker that answers health checks makes progress: a slow one must not be taken for a dead one."""

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

# The slowest prefill that is still alive: a small CPU with a large model.
_SLOWEST_TOKENS_PER_SECOND = 20.0


class Watchdog:
    """`stall_seconds`: how long a worker with requests may produce nothing; more for each prompt token that
    waits, since one prefill step may take many of them. 0: it never barks.
    """

    def __init__(self, stall_seconds: float, now: Callable[[], float] = time.monotonic) -> None:
        self._stall_seconds = stall_seconds
        self._now = now
        self._done = -1
        self.since = now()
        """When it last got on, or had nothing to do."""

    def is_stalled(self, report: pb.LoadReport) -> bool:
        """Called with each report. A suspicion: an engine may count a prompt only step by step."""
        done = report.prefill_tokens_done + report.decode_tokens_done + report.cached_tokens_done
        has_work = report.loaded and report.running + report.waiting > 0
        if done != self._done or not has_work:
            self._done, self.since = done, self._now()
        limit = self._stall_seconds + report.waiting_prompt_tokens / _SLOWEST_TOKENS_PER_SECOND
        return self._stall_seconds > 0 and self._now() - self.since > limit


_SECONDS = 10.0


async def answers(worker: Worker) -> bool:
    request = pb.GenerateRequest(
        request_id=secrets.token_hex(16), raw="probe", sampling=pb.Sampling(max_tokens=1, temperature=0)
    )
    handle = worker.submit(request, "probe")
    try:
        async with asyncio.timeout(_SECONDS), aclosing(events_of(handle)) as events:
            async for event in events:
                if event.HasField("done"):
                    return True
    except (RetryElsewhere, TimeoutError):
        return False
    except DroverError:
        # Whoever refuses is alive.
        return True
    finally:
        handle.cancel()
    return False
