"""The key of the request that is being handled, for code that decides what a request may see.

A context variable, so that no route can forget to pass it on: what the catalog does not show to a key, no
route shows.
"""

from __future__ import annotations

from contextvars import ContextVar

from frontend.access.key import Key

_current: ContextVar[Key | None] = ContextVar("key", default=None)


def set_current_key(key: Key | None) -> None:
    """For this request's task and those that it starts."""
    _current.set(key)


def current_key() -> Key | None:
    """None where no keys are used, and for this server's own work."""
    return _current.get()
