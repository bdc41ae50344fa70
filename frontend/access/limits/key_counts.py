"""What one key has used, as one frontend knows it, and the rule that admits or refuses a request."""

from __future__ import annotations

from dataclasses import dataclass, field

from frontend.access.key import KeyLimits
from frontend.access.limits.bucket import MICROSECONDS, UNIT, Bucket

REQUESTS, TOKENS, STREAMS = "requests_per_minute", "tokens_per_minute", "streams"
# With less room than that, the database is asked about each request: then the limit holds exactly.
_LEAST_SHARE = 4
# When a stream ends is not known.
_STREAM_WAIT_US = MICROSECONDS


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request takes. `tokens`: the estimate that counts until its answer ends."""

    requests: int = 1
    tokens: int = 0
    streams: int = 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """`limit`: the name of the one that takes longest to admit the request."""

    limit: str
    wait_us: int


@dataclass(slots=True)
class KeyCounts:
    """`new_requests` and `new_tokens`: parts of the buckets that the database does not have yet, in the
    buckets' unit. `streams`: in flight here, of which the database has `written_streams`; `other_streams`:
    in flight on other frontends. `is_read`: the database's numbers are in it.
    """

    requests: Bucket = field(default_factory=Bucket)
    tokens: Bucket = field(default_factory=Bucket)
    new_requests: int = 0
    new_tokens: int = 0
    streams: int = 0
    written_streams: int = 0
    other_streams: int = 0
    is_read: bool = False
    limits: KeyLimits = field(default_factory=KeyLimits)
    asked_us: int = 0
    """The last request, by this frontend's own clock."""
    mean_tokens: float = 0.0
    """Of the key's answers, recent ones counting more; 0 before the first."""

    @property
    def is_changed(self) -> bool:
        """True if the database lacks something."""
        has_streams = self.limits.streams is not None and self.streams != self.written_streams
        return bool(self.new_requests or self.new_tokens) or has_streams

    def refusal(self, wanted: Wanted, now_us: int) -> Refusal | None:
        """None for a request that fits."""
        limits, found = self.limits, list[Refusal]()
        if limits.requests_per_minute is not None and wanted.requests:
            wait = self.requests.wait_us(limits.requests_per_minute, now_us, wanted.requests * UNIT)
            found.append(Refusal(REQUESTS, wait))
        if limits.tokens_per_minute is not None and wanted.tokens:
            wait = self.tokens.wait_us(limits.tokens_per_minute, now_us, wanted.tokens * UNIT)
            found.append(Refusal(TOKENS, wait))
        if limits.streams is not None and self.streams + self.other_streams + wanted.streams > limits.streams:
            found.append(Refusal(STREAMS, _STREAM_WAIT_US))
        longest = max(found, key=lambda each: each.wait_us, default=None)
        return longest if longest is not None and longest.wait_us else None

    def take(self, wanted: Wanted, now_us: int) -> None:
        """Count a request that is admitted."""
        self.streams += wanted.streams
        self.add_requests(wanted.requests, now_us)
        self.add_tokens(wanted.tokens, now_us)

    def add_requests(self, requests: int, now_us: int) -> None:
        """Count requests; a negative number gives back those that were refused later."""
        if self.limits.requests_per_minute is not None:
            self.requests.add(self.limits.requests_per_minute, now_us, requests * UNIT)
            self.new_requests += requests * UNIT

    def add_tokens(self, tokens: int, now_us: int) -> None:
        """Count tokens; a negative number gives back a part of an estimate."""
        if self.limits.tokens_per_minute is not None:
            self.tokens.add(self.limits.tokens_per_minute, now_us, tokens * UNIT)
            self.new_tokens += tokens * UNIT

    def has_share(self, wanted: Wanted, now_us: int, parts: int) -> bool:
        """True if the request and all else that the database lacks fit into one of `parts` equal parts of
        what was free when the database was read, and such a part is not tiny.
        """
        limits = self.limits
        shares: list[tuple[int, int]] = []
        if limits.requests_per_minute is not None:
            free = self.requests.free(limits.requests_per_minute, now_us) + self.new_requests
            shares.append((self.new_requests + wanted.requests * UNIT, free))
        if limits.tokens_per_minute is not None:
            free = self.tokens.free(limits.tokens_per_minute, now_us) + self.new_tokens
            shares.append((self.new_tokens + wanted.tokens * UNIT, free))
        if limits.streams is not None:
            new = (self.streams - self.written_streams) * UNIT
            free = (limits.streams - self.other_streams - self.written_streams) * UNIT
            shares.append((new + wanted.streams * UNIT, free))
        return all(taken <= free // parts and free // parts >= _LEAST_SHARE * UNIT for taken, free in shares)
