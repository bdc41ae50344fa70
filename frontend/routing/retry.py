"""When a failed request is tried again: how often, with what budget, after what pause."""

from __future__ import annotations

import asyncio
import math
import random
import time

from drover.errors import DroverError, EngineFailed, ProtocolBroken, RetryElsewhere, WorkerUnreachable
from frontend.routing.managed_worker import ManagedWorker

_MOST_ATTEMPTS = 4
_MOST_ENGINE_FAILURES = 2


class Attempts:
    """`failed`: the workers that failed under it and when, of time.monotonic."""

    def __init__(self, retries: RetryBudget) -> None:
        self._retries = retries
        self._made = 0
        self._engine_failures = 0
        self.failed: dict[ManagedWorker, float] = {}

    def consider(self, member: ManagedWorker, error: RetryElsewhere) -> None:
        """Raises the error where another attempt is out of the question."""
        self._made += 1
        self._engine_failures += isinstance(error, EngineFailed | ProtocolBroken)
        is_lasting = isinstance(error, WorkerUnreachable) and error.is_lasting
        self.failed[member] = math.inf if is_lasting else time.monotonic()
        if (
            self._made >= _MOST_ATTEMPTS
            or self._engine_failures >= _MOST_ENGINE_FAILURES
            or not self._retries.allow(error)
        ):
            raise error

    def begin_anew(self) -> None:
        """The request got on: what happened before is no sign of what comes."""
        self._made = self._engine_failures = 0
        self.failed = {}


_PER_REQUEST = 0.2
_MOST = 20.0


class RetryBudget:
    """A fifth of the requests, and twenty at once. Only what an engine broke under counts: requests of a lost
    or draining worker are moved once each, whatever their number.
    """

    def __init__(self) -> None:
        self._left = _MOST

    def earn(self) -> None:
        """A request has come."""
        self._left = min(_MOST, self._left + _PER_REQUEST)

    def allow(self, error: DroverError) -> bool:
        """Whether a request that failed so may be tried again."""
        if not isinstance(error, EngineFailed | ProtocolBroken):
            return True
        if self._left < 1:
            return False
        self._left -= 1
        return True


_MOST_SECONDS = 0.05


async def jitter() -> None:
    """Those that lost one worker together do not come to the next one together."""
    await asyncio.sleep(random.uniform(0, _MOST_SECONDS))
