"""Interface of a server under measurement, and its load."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Offer:
    """`step_ms`: one engine step; each stream gets `tokens_a_step` in it, `tokens` in all. 0: as fast as the
    source can.
    """

    streams: int
    tokens: int
    step_ms: float
    tokens_a_step: int = 1

    @property
    def tokens_per_second(self) -> float:
        """Tokens per second of one stream."""
        return 1000 * self.tokens_a_step / self.step_ms if self.step_ms else 0.0


@dataclass(frozen=True, slots=True)
class Target:
    """`pids`: its processes by the name of their tier; `until_idle` returns when no request is left."""

    name: str
    address: str
    pids: Mapping[str, int]
    until_idle: Callable[[], Awaitable[object]]
