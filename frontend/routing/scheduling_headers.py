"""What a client may ask of the queue, in headers: every dialect's clients can send them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from drover.errors import InvalidRequest

PRIORITY = "X-Drover-Priority"
DEADLINE = "X-Drover-Deadline-Seconds"
_LOWEST = -100
_INTEGER = re.compile(r"[+-]?[0-9]{1,6}")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class SchedulingHeaders:
    """`priority`: larger is sooner, 0 the ordinary one. `deadline_seconds`: from when the request
    has been read; None for none.
    """

    priority: int = 0
    deadline_seconds: float | None = None

    @classmethod
    def read(cls, headers: Mapping[str, str], max_priority: int) -> SchedulingHeaders:
        """A priority above `max_priority` counts as that. Raises InvalidRequest for what is no number."""
        priority, seconds = headers.get(PRIORITY, "").strip(), headers.get(DEADLINE, "").strip()
        if priority and not _INTEGER.fullmatch(priority):
            raise InvalidRequest(f"{PRIORITY}: {priority!r} is no whole number, like -1")
        if seconds and not (_SECONDS.fullmatch(seconds) and float(seconds) > 0):
            raise InvalidRequest(f"{DEADLINE}: {seconds!r} is no number of seconds above 0, like 2.5")
        return cls(
            max(_LOWEST, min(int(priority or 0), max_priority)),
            float(seconds) if seconds else None,
        )
