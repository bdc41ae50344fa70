"""A token bucket: what was used of a limit per minute, drained at the rate of the limit.

A full minute's worth may be used at once; after that, room comes back continuously. What was used beyond the
limit, as tokens that are known only when an answer has ended, is a debt that drains first.

Amounts are in millionths and times in microseconds, so that a limit per minute drains `elapsed * limit / 60`.
"""

from __future__ import annotations

from dataclasses import dataclass

UNIT = 1_000_000
MICROSECONDS = 1_000_000
_MINUTE_SECONDS = 60
# A debt beyond it is forgiven: the numbers stay within the database's 64 bits.
_MAX_MINUTES = 24 * 60
# For a limit of 0, which admits nothing until the operator changes it.
NEVER_US = 3600 * MICROSECONDS


@dataclass(slots=True)
class Bucket:
    """`used`: at the time `at_us`."""

    used: int = 0
    at_us: int = 0

    def level(self, limit: int, now_us: int) -> int:
        """What is used now."""
        drained = max(0, now_us - self.at_us) * limit // _MINUTE_SECONDS
        return max(0, self.used - drained)

    def free(self, limit: int, now_us: int) -> int:
        """What may be used now; below 0 in debt."""
        return limit * UNIT - self.level(limit, now_us)

    def add(self, limit: int, now_us: int, amount: int) -> None:
        """Use an amount; a negative one gives it back."""
        used = max(0, self.level(limit, now_us) + amount)
        self.used = min(used, _MAX_MINUTES * max(1, limit) * UNIT)
        self.at_us = now_us

    def wait_us(self, limit: int, now_us: int, amount: int) -> int:
        """How long until the amount is free; 0 if it is. An amount above the limit needs an empty bucket."""
        lacking = min(amount, limit * UNIT) - self.free(limit, now_us)
        if limit <= 0:
            return NEVER_US
        return -(-max(0, lacking) * _MINUTE_SECONDS // limit)

    def reset_us(self, limit: int, now_us: int) -> int:
        """How long until nothing is used."""
        return -(-self.level(limit, now_us) * _MINUTE_SECONDS // max(1, limit))
