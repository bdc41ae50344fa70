"""Circuit breaker of a worker: open after failures in a row, then half-open for one trial request."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

_FAILURES = 3
_FIRST_OPEN_SECONDS = 1.0
# Open for 1, 2, 4, 8, 16, and at most 32 s.
_MAX_DOUBLINGS = 5


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of a request. `began`: when it was given its permit, of the breaker's clock; `is_probe`: it
    is the trial request of a half-open breaker.
    """

    began: float
    is_probe: bool


class CircuitBreaker:
    """Opens after three failures in a row. Each further one doubles the time that it stays open, with a fifth
    of jitter, so that frontends do not retry together. Attempts that ran at the same time and failed together
    count as one failure.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures = 0
        self._last_failure = float("-inf")
        self._open_until = 0.0
        self._probing = False
        self._trips = 0

    @property
    def is_failing(self) -> bool:
        """True if it may be open; while this is false, it is not."""
        return self._failures >= _FAILURES

    @property
    def is_open(self) -> bool:
        """True if requests must not be sent. When half-open, one trial request is allowed."""
        return self._failures >= _FAILURES and (self._probing or self._now() < self._open_until)

    def begin(self) -> Attempt:
        is_probe = self._failures >= _FAILURES
        self._probing = self._probing or is_probe
        return Attempt(self._now(), is_probe)

    def succeeded(self, attempt: Attempt) -> None:
        """The worker answered; close, unless a failure came after the attempt began."""
        if attempt.began >= self._last_failure:
            self._failures, self._probing = 0, False

    def ended(self, attempt: Attempt) -> None:
        """The attempt ended in a way that proves nothing of the worker: allow another trial request."""
        if attempt.is_probe:
            self._probing = False

    def trip(self) -> None:
        """Open at once, and for longer each time. A worker that violates the protocol does so after a good
        beginning, which must not count as recovery.
        """
        self._trips += 1
        self._failures = max(self._failures, _FAILURES - 1 + self._trips)
        self._open()

    def failed(self, attempt: Attempt) -> None:
        self.ended(attempt)
        if attempt.began < self._last_failure:
            return
        self._failures += 1
        self._open()

    def _open(self) -> None:
        self._last_failure = self._now()
        doublings = min(_MAX_DOUBLINGS, max(0, self._failures - _FAILURES))
        open_seconds = _FIRST_OPEN_SECONDS * 2**doublings * random.uniform(0.8, 1.2)
        self._open_until = self._last_failure + open_seconds
