"""What is counted of requests, and for whom."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import NamedTuple

from frontend.observability.request_record import RequestRecord

_US_PER_SECOND = 1_000_000


class UsageKey(NamedTuple):
    """One row. `day`: UTC, as in `2026-11-30`; `key`: a key's id, empty without keys; `model`: as the client
    asked for it; `served`: the main name of the workers' model that served it. Both are empty for requests
    that were refused before their model was known.
    """

    day: str
    key: str
    model: str
    served: str


@dataclass(slots=True)
class Tally:
    """Sums over requests, as integers, so that they can be added up without loss. `requests` are all of them,
    `refusals` are those of them that were refused for want of room or by a limit.
    """

    requests: int = 0
    refusals: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    queued_us: int = 0
    running_us: int = 0

    def add(self, record: RequestRecord) -> None:
        """Add a request that has ended."""
        tokens = record.tokens
        self.requests += 1
        self.refusals += record.is_refused
        self.prompt_tokens += tokens.prompt
        self.cached_tokens += tokens.cached
        self.generated_tokens += tokens.generated
        self.queued_us += round(record.queued_seconds * _US_PER_SECOND)
        self.running_us += round(record.running_seconds * _US_PER_SECOND)

    @classmethod
    def sum_of(cls, tallies: Iterable[Tally]) -> Tally:
        columns = zip(*(each.values() for each in tallies), strict=True)
        return cls(*map(sum, columns))

    def values(self) -> tuple[int, ...]:
        """In the order of COLUMNS."""
        return tuple(getattr(self, column) for column in COLUMNS)


COLUMNS = tuple(field.name for field in fields(Tally))
SECONDS = {"queued_us": "queued_seconds", "running_us": "running_seconds"}


def shown(tally: Tally) -> dict[str, int | float]:
    """As clients get it: with seconds."""
    values = zip(COLUMNS, tally.values(), strict=True)
    return {
        SECONDS.get(name, name): value / _US_PER_SECOND if name in SECONDS else value
        for name, value in values
    }
