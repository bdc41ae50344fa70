"""Whether a worker that failed may be asked again: not at once, then by one request, then by all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

_FAILURES = 3
_FIRST_REST_SECONDS = 1.0
# Of 1, 2, 4, 8, 16 and from then on 32 s.
_MOST_DOUBLINGS = 5


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request's, from its admission on."""

    began: float
    is_probe: bool


class Breaker:
    """Opens after three failures in a row. Each further one doubles the rest, with a fifth of jitter, so that
    frontends do not come back together. Attempts that ran side by side and failed together are one failure.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures = 0
        self._last_failure = float("-inf")
        self._rest_until = 0.0
        self._probing = False
        self._trips = 0

    @property
    def is_failing(self) -> bool:
        """It may be open: as long as this is false, it is not."""
        return self._failures >= _FAILURES

    @property
    def is_open(self) -> bool:
        """No request, please. Half open, it lets one through and waits for what becomes of it."""
        return self._failures >= _FAILURES and (self._probing or self._now() < self._rest_until)

    def begin(self) -> Attempt:
        is_probe = self._failures >= _FAILURES
        self._probing = self._probing or is_probe
        return Attempt(self._now(), is_probe)

    def succeeded(self, attempt: Attempt) -> None:
        """It has answered something; what failed before it began is over."""
        if attempt.began >= self._last_failure:
            self._failures, self._probing = 0, False

    def ended(self, attempt: Attempt) -> None:
        """In a way that says nothing of the worker."""
        if attempt.is_probe:
            self._probing = False

    def trip(self) -> None:
        """It opens at once, and for longer each time: a worker that breaks the protocol does so after a good
        beginning, which must not count as recovery.
        """
        self._trips += 1
        self._failures = max(self._failures, _FAILURES - 1 + self._trips)
        self._rest()

    def failed(self, attempt: Attempt) -> None:
        self.ended(attempt)
        if attempt.began < self._last_failure:
            return
        self._failures += 1
        self._rest()

    def _rest(self) -> None:
        self._last_failure = self._now()
        doublings = min(_MOST_DOUBLINGS, max(0, self._failures - _FAILURES))
        rest_seconds = _FIRST_REST_SECONDS * 2**doublings * random.uniform(0.8, 1.2)
        self._rest_until = self._last_failure + rest_seconds
