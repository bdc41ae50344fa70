"""What happened in the last 15 minutes, in buckets of 5 seconds: for each model, and in total."""

from __future__ import annotations

from dataclasses import dataclass, field

from frontend.console.histogram import DurationHistogram

BUCKET_SECONDS = 5
BUCKETS = 180
_RATE_BUCKETS = 2
Point = list[float | None]
"""As a plot gets it: start (unix time), generated and prompt tokens a second, p50 and p99 of TTFT in seconds,
finished requests, errors, moves, and the most requests that ran and waited at a time.
"""


@dataclass(slots=True)
class Counts:
    """Sums of a time span. `moves`: retries and failovers."""

    requests: int = 0
    errors: int = 0
    moves: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    ttft: DurationHistogram = field(default_factory=DurationHistogram)

    def add_request(self, failed: bool, moves: int, ttft_seconds: float) -> None:
        """`ttft_seconds`: 0 for a request without a first token."""
        self.requests += 1
        self.errors += failed
        self.moves += moves
        if ttft_seconds:
            self.ttft.add(ttft_seconds)

    def add_tokens(self, prompt: int, cached: int, generated: int) -> None:
        self.prompt_tokens += prompt
        self.cached_tokens += cached
        self.generated_tokens += generated

    def subtract(self, other: Counts) -> None:
        self.requests -= other.requests
        self.errors -= other.errors
        self.moves -= other.moves
        self.add_tokens(-other.prompt_tokens, -other.cached_tokens, -other.generated_tokens)
        self.ttft.subtract(other.ttft)

    @property
    def hit_rate(self) -> float | None:
        """Share of prompt tokens found in the prefix cache; None without any."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else None


@dataclass(slots=True)
class Bucket:
    """`number`: its start divided by its length; -1 for one that has not been used."""

    number: int = -1
    counts: Counts = field(default_factory=Counts)
    running: int = 0
    waiting: int = 0

    def point(self, now: float) -> Point:
        """`now`: unix time; the newest bucket has lasted only until then."""
        begin, counts = self.number * BUCKET_SECONDS, self.counts
        seconds = min(BUCKET_SECONDS, max(1.0, now - begin))
        return [
            begin,
            round(counts.generated_tokens / seconds, 1),
            round(counts.prompt_tokens / seconds, 1),
            _rounded(counts.ttft.quantile(0.5)),
            _rounded(counts.ttft.quantile(0.99)),
            counts.requests,
            counts.errors,
            counts.moves,
            self.running,
            self.waiting,
        ]


class Series:
    """A ring of buckets, whose size does not depend on the traffic. `window`: their sum. Call `advance` at
    least as often as a bucket lasts, so that old ones leave the window in time.
    """

    __slots__ = ("_buckets", "_last", "window")

    def __init__(self) -> None:
        self._buckets = [Bucket() for _ in range(BUCKETS)]
        self._last = -1
        self.window = Counts()

    def advance(self, now: float) -> Bucket:
        """The bucket of that unix time. A clock that was set back adds to the newest one."""
        number = int(now // BUCKET_SECONDS)
        first = number if self._last < 0 else max(self._last + 1, number - BUCKETS + 1)
        for each in range(first, number + 1):
            old = self._buckets[each % BUCKETS]
            self.window.subtract(old.counts)
            self._buckets[each % BUCKETS] = Bucket(each)
            self._last = each
        return self._buckets[self._last % BUCKETS]

    def add_request(self, now: float, failed: bool, moves: int, ttft_seconds: float) -> None:
        for counts in (self.advance(now).counts, self.window):
            counts.add_request(failed, moves, ttft_seconds)

    def add_tokens(self, now: float, prompt: int, cached: int, generated: int) -> None:
        for counts in (self.advance(now).counts, self.window):
            counts.add_tokens(prompt, cached, generated)

    def raise_gauges(self, now: float, running: int, waiting: int) -> None:
        """Keep the most requests that ran and waited at a time."""
        bucket = self.advance(now)
        bucket.running, bucket.waiting = max(bucket.running, running), max(bucket.waiting, waiting)

    def points(self, now: float, count: int = BUCKETS) -> list[Point]:
        """The newest `count` buckets, the oldest first."""
        self.advance(now)
        numbers = range(self._last - count + 1, self._last + 1)
        buckets = (self._buckets[number % BUCKETS] for number in numbers)
        return [bucket.point(now) for bucket in buckets if bucket.number >= 0]

    def tokens_per_second(self, now: float) -> float:
        """Generated tokens a second, over the last whole buckets."""
        self.advance(now)
        numbers = range(self._last - _RATE_BUCKETS, self._last)
        tokens = sum(self._buckets[number % BUCKETS].counts.generated_tokens for number in numbers)
        return round(tokens / (_RATE_BUCKETS * BUCKET_SECONDS), 1)

    def requests_per_minute(self, now: float) -> int:
        """Finished ones of the last minute."""
        self.advance(now)
        numbers = range(self._last - 60 // BUCKET_SECONDS + 1, self._last + 1)
        return sum(self._buckets[number % BUCKETS].counts.requests for number in numbers)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
