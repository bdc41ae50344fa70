"""The interface of picking: what a policy may know of workers and of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """A worker. Hashed by identity."""

    @property
    def address(self) -> str: ...

    @property
    def load(self) -> float:
        """Requests that it has, waiting and running, of all frontends; as far as this one knows."""

    @property
    def waiting_prompt_tokens(self) -> float:
        """Prompt tokens that stand before a new request there."""


Chosen = TypeVar("Chosen", bound=Candidate)


class Choices(Protocol[Chosen]):
    """Those of some workers that can take a request now. It is updated when one of them changes, so that a
    request looks at a few of them, however many there are.
    """

    def put(self, candidate: Chosen) -> None:
        """It can take a request, or its load has changed."""

    def drop(self, candidate: Chosen) -> None:
        """It cannot, or not any more."""

    def pick(self, affinity: bytes | None) -> Chosen | None:
        """None where there is no candidate. `affinity`: equal for requests whose prompts begin alike; None
        where that would save nothing.
        """


class Policy(Protocol):
    def choices(self, workers: Sequence[Chosen]) -> Choices[Chosen]:
        """For these workers, none of which is a candidate yet."""


def pick_one(policy: Policy, candidates: Sequence[Chosen], affinity: bytes | None) -> Chosen | None:
    """Once: looks at all of them."""
    choices = policy.choices(candidates)
    for candidate in candidates:
        choices.put(candidate)
    return choices.pick(affinity)
