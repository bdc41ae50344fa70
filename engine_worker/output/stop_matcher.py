"""Find stop texts across token borders; hold back only text that may still become one."""

from __future__ import annotations

from collections.abc import Sequence


class StopMatcher:
    """Feed it an answer's text piece by piece; it returns what may be shown.

    `matched` is the stop text that ended the answer, or None. An answer ends with the piece that completes a
    stop text, since an engine stops there. Of several in that piece the earliest in the text wins, and the
    first in the list among those that begin at the same place.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._longest = max((len(stop) for stop in self._stops), default=0)
        self._held = ""
        self.matched: str | None = None

    @property
    def is_idle(self) -> bool:
        """True if there are no stop texts: nothing is held back."""
        return not self._stops

    def feed(self, text: str) -> str:
        if not self._stops:
            return text
        self._held += text
        found = [(at, order) for order, stop in enumerate(self._stops) if (at := self._held.find(stop)) >= 0]
        if found:
            at, order = min(found)
            self.matched = self._stops[order]
            shown, self._held = self._held[:at], ""
            return shown
        keep = self._held_length()
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def flush(self) -> str:
        """Return what was held back, if the answer ends without a stop text."""
        shown, self._held = self._held, ""
        return shown

    def _held_length(self) -> int:
        for length in range(min(self._longest - 1, len(self._held)), 0, -1):
            tail = self._held[-length:]
            if any(stop.startswith(tail) for stop in self._stops):
                return length
        return 0
