"""How much of a frontend's work may be tried again: engines that fail must not get twice the load for it."""

from __future__ import annotations

from drover.errors import DroverError, EngineFailed, ProtocolBroken

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
