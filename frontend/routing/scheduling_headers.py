"""Request headers that control queueing, for all dialects."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from drover.errors import InvalidRequest

PRIORITY = "X-Drover-Priority"
DEADLINE = "X-Drover-Deadline-Seconds"
_LOWEST = -100
_INTEGER = re.compile(r"[+-]?[0-9]{1,6}")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


@dataclass(frozen=True, slots=True)
class SchedulingHeaders:
    """`priority`: larger goes first, 0 by default. `deadline_seconds`: counted from when the request was
    read, None for no deadline.
    """

    priority: int = 0
    deadline_seconds: float | None = None

    @classmethod
    def read(cls, headers: Mapping[str, str], max_priority: int) -> SchedulingHeaders:
        """Parse the headers; clamp the priority to `max_priority`. Raises InvalidRequest for an invalid
        number.
        """
        priority, seconds = headers.get(PRIORITY, "").strip(), headers.get(DEADLINE, "").strip()
        if priority and not _INTEGER.fullmatch(priority):
            raise InvalidRequest(f"{PRIORITY}: {priority!r} is no whole number, like -1")
        if seconds and not (_SECONDS.fullmatch(seconds) and float(seconds) > 0):
            raise InvalidRequest(f"{DEADLINE}: {seconds!r} is no number of seconds above 0, like 2.5")
        scheduling = cls(deadline_seconds=float(seconds) if seconds else None)
        return scheduling.with_priority(int(priority or 0), max_priority)

    def with_priority(self, priority: int, max_priority: int) -> SchedulingHeaders:
        return replace(self, priority=max(_LOWEST, min(priority, max_priority)))
