"""Whether a worker that failed may be asked again: not at once, then by one request, then by all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

_FAILURES = 3
_FIRST_REST_SECONDS = 1.0
_LONGEST_REST_SECONDS = 30.0


class Breaker:
    """Opens after three failures in a row. Each further failure doubles the rest, with a fifth of jitter, so
    that frontends do not come back together.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._failures = 0
        self._rest_until = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """No request, please. Half open, it lets one through and waits for what becomes of it."""
        return self._failures >= _FAILURES and (self._probing or self._now() < self._rest_until)

    def sent(self) -> None:
        """A request went to the worker."""
        self._probing = self._failures >= _FAILURES

    def succeeded(self) -> None:
        self._failures, self._probing = 0, False

    def ended(self) -> None:
        """It ended in a way that says nothing of the worker."""
        self._probing = False

    def failed(self) -> None:
        self._failures += 1
        self._probing = False
        doubled = max(0, self._failures - _FAILURES)
        rest_seconds = min(_LONGEST_REST_SECONDS, _FIRST_REST_SECONDS * 2.0**doubled)
        self._rest_until = self._now() + rest_seconds * random.uniform(0.8, 1.2)
