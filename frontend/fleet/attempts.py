"""How often one call is tried: a request that breaks workers must not go through all of them."""

from __future__ import annotations

import math
import time

from drover.errors import EngineFailed, ProtocolBroken, RetryElsewhere, WorkerUnreachable
from frontend.fleet.budget import RetryBudget
from frontend.fleet.members import Member

_MOST_ATTEMPTS = 4
_MOST_ENGINE_FAILURES = 2


class Attempts:
    """`failed`: the workers that failed under it and when, of time.monotonic."""

    def __init__(self, retries: RetryBudget) -> None:
        self._retries = retries
        self._made = 0
        self._engine_failures = 0
        self.failed: dict[Member, float] = {}

    def consider(self, member: Member, error: RetryElsewhere) -> None:
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
