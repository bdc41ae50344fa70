"""The seam of picking: what a policy may know of workers and of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar


class Candidate(Protocol):
    """A worker that can take the request now."""

    @property
    def address(self) -> str: ...

    @property
    def load(self) -> float:
        """Requests that it has, waiting and running, of all frontends; as far as this one knows."""

    @property
    def waiting_prompt_tokens(self) -> float:
        """Prompt tokens that stand before a new request there."""


Chosen = TypeVar("Chosen", bound=Candidate)


class Policy(Protocol):
    def pick(self, candidates: Sequence[Chosen], affinity: bytes | None) -> Chosen:
        """One of `candidates`, which is not empty. `affinity`: equal for requests whose prompts begin alike;
        None where that would save nothing.
        """
