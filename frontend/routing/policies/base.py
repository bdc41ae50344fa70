"""Interface of load-balancing policies: what they are given of workers and of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """A worker, hashed by identity."""

    @property
    def address(self) -> str: ...

    @property
    def load(self) -> float:
        """Requests there, waiting and running, of all frontends, as far as this one knows."""

    @property
    def waiting_prompt_tokens(self) -> float:
        """Prompt tokens queued for prefill there."""


Chosen = TypeVar("Chosen", bound=Candidate)


class Choices(Protocol[Chosen]):
    """The candidates among some workers: those that can take a request now. Updated whenever one of them
    changes, so that a request looks at few of them, however many there are.
    """

    def put(self, candidate: Chosen) -> None:
        """Add a candidate, or update one whose load has changed."""

    def drop(self, candidate: Chosen) -> None:
        """Remove a candidate. No effect if it is none."""

    def pick(self, affinity: bytes | None) -> Chosen | None:
        """Select a candidate; None if there is none. `affinity`: key of the prompt's prefix, None for prompts
        that are too short to benefit from a prefix cache.
        """


class Policy(Protocol):
    def choices(self, workers: Sequence[Chosen]) -> Choices[Chosen]:
        """A set of choices for these workers, without candidates yet."""


def pick_one(policy: Policy, candidates: Sequence[Chosen], affinity: bytes | None) -> Chosen | None:
    """Select one of the candidates, looking at all of them."""
    choices = policy.choices(candidates)
    for candidate in candidates:
        choices.put(candidate)
    return choices.pick(affinity)
