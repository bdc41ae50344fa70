"""A request that its key's limits admitted: what it holds of them until it ends."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from drover.errors import InvalidRequest, RateLimited
from frontend.access.key import KeyLimits
from frontend.access.limits.bucket import MICROSECONDS, UNIT, Bucket
from frontend.access.limits.key_counts import STREAMS, KeyCounts, Refusal, Wanted

# The weight of the newest answer in the mean that estimates the next.
_NEWEST = 0.25


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit per minute, what is left of it, and how long until all of it is."""

    limit: int
    remaining: int
    reset_us: int


class LimitStates:
    """What is left of a key's limits per minute, now."""

    __slots__ = ("_counts", "_now")

    def __init__(self, counts: KeyCounts, now: Callable[[], int]) -> None:
        self._counts = counts
        self._now = now

    @property
    def requests(self) -> LimitState | None:
        """None without that limit."""
        return self._state(self._counts.requests, self._counts.limits.requests_per_minute)

    @property
    def tokens(self) -> LimitState | None:
        """None without that limit."""
        return self._state(self._counts.tokens, self._counts.limits.tokens_per_minute)

    def _state(self, bucket: Bucket, limit: int | None) -> LimitState | None:
        if limit is None:
            return None
        now_us = self._now()
        left = max(0, bucket.free(limit, now_us) // UNIT)
        return LimitState(limit, left, bucket.reset_us(limit, now_us))

    @property
    def now_us(self) -> int:
        """Microseconds since 1970, by the clock of the limits."""
        return self._now()


class Admission:
    """`decide`: counts what more the request wants, or returns why not. `changed`: called after a change."""

    __slots__ = (
        "_changed",
        "_counts",
        "_decide",
        "_has_ended",
        "_now",
        "_streams",
        "_tokens",
        "refusal",
        "states",
    )

    def __init__(
        self,
        counts: KeyCounts,
        wanted: Wanted,
        now: Callable[[], int],
        decide: Callable[[Wanted], Awaitable[Refusal | None]],
        changed: Callable[[bool], None],
    ) -> None:
        self._counts = counts
        self.states = LimitStates(counts, now)
        self.refusal: RateLimited | None = None
        """Why it was refused after all, for its further answers."""
        self._streams = wanted.streams
        self._tokens = wanted.tokens
        self._now = now
        self._decide = decide
        self._changed = changed
        self._has_ended = False

    async def add_streams(self, streams: int) -> None:
        """Count further answers that run at the same time, as those of `n` choices. Raises RateLimited, and
        InvalidRequest for more than the limit ever allows.
        """
        most = self._counts.limits.streams
        if most is None or streams <= 0:
            return
        if self._streams + streams > most:
            raise InvalidRequest(
                f"the request has {self._streams + streams} answers that run at the same time, and the limit "
                f"{STREAMS} of this key is {most}; ask for fewer choices or prompts at once"
            )
        if (refusal := await self._decide(Wanted(0, 0, streams))) is not None:
            # A refused request costs nothing, however late it is refused.
            self._counts.add_requests(-1, self._now())
            self._changed(False)
            self.refusal = refused(refusal, self._counts.limits)
            raise self.refusal
        self._streams += streams
        if self._has_ended:
            self._counts.streams -= streams

    def end(self, tokens: int) -> None:
        """Settle with the tokens that the request really took. Later calls do nothing."""
        if self._has_ended:
            return
        self._has_ended = True
        counts = self._counts
        counts.streams -= self._streams
        counts.add_tokens(tokens - self._tokens, self._now())
        if tokens:
            counts.mean_tokens += (tokens - counts.mean_tokens) * (_NEWEST if counts.mean_tokens else 1)
        self._changed(counts.limits.streams is not None)


def refused(refusal: Refusal, limits: KeyLimits) -> RateLimited:
    number = getattr(limits, refusal.limit)
    seconds = refusal.wait_us / MICROSECONDS
    return RateLimited(
        f"rate limit reached: {refusal.limit} of this key is {number}. "
        f"Please try again in {max(1, math.ceil(seconds))}s.",
        refusal.limit,
        seconds,
    )
