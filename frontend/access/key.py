"""A client's key: who it is, what it may do, and its limits."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

_LATEST = ":latest"


class Role(StrEnum):
    """What a key may do. `user` generates and reads; `admin` may also change models and see all usage;
    `metrics` reads metrics and the console.
    """

    USER = "user"
    ADMIN = "admin"
    METRICS = "metrics"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """Limits of one key over all frontends; None for none. `streams`: requests in flight at a time."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    streams: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A key without its secret.

    `id`: unique and not secret, for logs, usage and metrics. `models`: patterns like `qwen3*`, of which a
    model's name must match one; none for all models. `priority`: the highest that its requests may ask for,
    in place of `--max-priority`; None to keep that. `weight`: its share of the queue next to other clients'.
    `expires_unix`: None for never.
    """

    id: str
    name: str
    role: Role = Role.USER
    models: tuple[str, ...] = ()
    limits: KeyLimits = KeyLimits()
    priority: int | None = None
    weight: float = 1.0
    expires_unix: float | None = None

    def may_use(self, model: str) -> bool:
        """Whether one of its patterns matches the model's name, with or without the tag `latest`."""
        names = _spellings(model)
        return not self.models or any(
            fnmatchcase(name, pattern) for pattern in map(str.lower, self.models) for name in names
        )

    def names(self, model: str) -> bool:
        """Whether one of its patterns is the model's name, without wildcards."""
        return not _spellings(model).isdisjoint(map(str.lower, self.models))


def _spellings(name: str) -> frozenset[str]:
    """The name with and without the tag `latest`, which is the one of a name without a tag."""
    name = name.lower()
    if ":" not in name.rpartition("/")[2]:
        return frozenset({name, f"{name}{_LATEST}"})
    return frozenset({name, name.removesuffix(_LATEST)})
