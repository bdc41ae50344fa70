"""How long requests of keys without the role admin may keep a model in memory, which is everybody's."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from drover.durations import NS_PER_SECOND
from drover.errors import NotPermitted


@dataclass(frozen=True, slots=True)
class KeepAliveBounds:
    min_seconds: float
    max_seconds: float

    def bounded(self, keep_alive_ns: int) -> int:
        least, most = (round(seconds * NS_PER_SECOND) for seconds in (self.min_seconds, self.max_seconds))
        return min(max(keep_alive_ns, least), most)


_current: ContextVar[KeepAliveBounds | None] = ContextVar("keep_alive_bounds", default=None)


def set_keep_alive_bounds(bounds: KeepAliveBounds | None) -> None:
    """For this request's task and those that it starts. None: any keep-alive, and unloading."""
    _current.set(bounds)


def bounded_keep_alive(keep_alive_ns: int) -> int:
    """What a request's keep_alive counts as."""
    bounds = _current.get()
    return keep_alive_ns if bounds is None else bounds.bounded(keep_alive_ns)


def check_may_unload() -> None:
    """Raises NotPermitted."""
    if _current.get() is not None:
        raise NotPermitted(
            "unloading a model (keep_alive 0 without a prompt) is for keys with the role admin"
        )
