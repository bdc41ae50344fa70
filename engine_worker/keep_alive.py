"""How long the model may stay in memory, and when its time is over: arithmetic, without a timer."""

from __future__ import annotations

from drover.durations import NS_PER_SECOND

_INT64_MAX = 2**63 - 1


class KeepAlive:
    """The duration is the latest that was asked for in this stay, at first the default; it counts from the
    end of the last use. `due_seconds` is a time of the event loop; None: not while it is used, or never.
    """

    def __init__(self, default_ns: int) -> None:
        self._default_ns = default_ns
        self._ns = default_ns
        self._expires_unix_ns: int | None = None
        self.due_seconds: float | None = None

    def ask(self, keep_alive_ns: int) -> None:
        """Negative: for ever."""
        self._ns = keep_alive_ns

    def forget_what_was_asked(self) -> None:
        self._ns = self._default_ns

    def used(self) -> None:
        self._expires_unix_ns = self.due_seconds = None

    def rests(self, now_seconds: float, now_unix_ns: int) -> None:
        """Nobody uses the model any more."""
        self._expires_unix_ns = self._expiry(now_unix_ns)
        self.due_seconds = now_seconds + self._ns / NS_PER_SECOND if self._expires_unix_ns else None

    def expires_unix_ns(self, now_unix_ns: int) -> int:
        """While it is used: as if the use ended now. 0: never."""
        return self._expiry(now_unix_ns) if self._expires_unix_ns is None else self._expires_unix_ns

    def _expiry(self, now_unix_ns: int) -> int:
        """What no int64 holds lies centuries ahead."""
        expiry = now_unix_ns + self._ns
        return 0 if self._ns < 0 or expiry > _INT64_MAX else expiry
