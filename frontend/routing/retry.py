"""Retries: attempts per request, a budget for all requests together, a random delay."""

from __future__ import annotations

import asyncio
import math
import random
import time

from drover.errors import DroverError, EngineFailed, ProtocolBroken, RetryElsewhere, WorkerUnreachable
from frontend.routing.managed_worker import ManagedWorker

_MAX_ATTEMPTS = 4
_MAX_ENGINE_FAILURES = 2
_TOKENS_PER_REQUEST = 0.2
_MAX_TOKENS = 20.0
_MAX_JITTER_SECONDS = 0.05


class RetryBudget:
    """Token bucket of a frontend: retries of at most a fifth of the requests, twenty in a burst.

    Only failures of the engine itself cost a token. Requests of a lost or draining worker all fail over,
    however many they are.
    """

    def __init__(self) -> None:
        self._tokens = _MAX_TOKENS

    def earn(self) -> None:
        """Call once per new request."""
        self._tokens = min(_MAX_TOKENS, self._tokens + _TOKENS_PER_REQUEST)

    def spend(self, error: DroverError) -> bool:
        """Take what a retry after `error` costs. False if the budget is used up."""
        if not isinstance(error, EngineFailed | ProtocolBroken):
            return True
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class RetryPolicy:
    """Failures of one request, and whether it may have another attempt.

    `max_attempts`: attempts in a row without progress; `max_engine_failures`: how many of them may break an
    engine. `failed`: the workers that failed, and when (time.monotonic); infinity where the failure is
    lasting.
    """

    def __init__(
        self,
        budget: RetryBudget,
        max_attempts: int = _MAX_ATTEMPTS,
        max_engine_failures: int = _MAX_ENGINE_FAILURES,
    ) -> None:
        self._budget = budget
        self._max_attempts = max_attempts
        self._max_engine_failures = max_engine_failures
        self._attempts = 0
        self._engine_failures = 0
        self.failed: dict[ManagedWorker, float] = {}

    def allows_another(self, worker: ManagedWorker, error: RetryElsewhere) -> bool:
        """Record that an attempt at `worker` failed with `error`. True if the request may be tried again."""
        self._attempts += 1
        self._engine_failures += isinstance(error, EngineFailed | ProtocolBroken)
        is_lasting = isinstance(error, WorkerUnreachable) and error.is_lasting
        self.failed[worker] = math.inf if is_lasting else time.monotonic()
        return (
            self._attempts < self._max_attempts
            and self._engine_failures < self._max_engine_failures
            and self._budget.spend(error)
        )

    def reset(self) -> None:
        """The request made progress: earlier failures do not predict the next one."""
        self._attempts = self._engine_failures = 0
        self.failed = {}


async def jitter() -> None:
    """Wait a random time, so that the retries of requests that failed together are not synchronised."""
    await asyncio.sleep(random.uniform(0, _MAX_JITTER_SECONDS))
