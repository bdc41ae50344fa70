"""Recent moves, errors and changes of workers, for the list on the page."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

_KEPT = 50
_LONGEST_TEXT = 240


@dataclass(slots=True)
class Incident:
    """`kind`: error, failover, retry or worker; `client`: the fair-queueing key of its request; `times`: how
    often the same happened; `last`: when it did last (unix time).
    """

    kind: str
    model: str
    worker: str
    text: str
    client: str
    status: int
    last: float
    times: int = 1


class Incidents:
    """The last different ones. One that comes again is counted: a burst leaves the others in sight."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, str, str, str], Incident] = OrderedDict()

    def __iter__(self) -> Iterator[Incident]:
        """The newest first."""
        return reversed(self._kept.values())

    def add(
        self,
        now: float,
        kind: str,
        text: str,
        model: str = "",
        worker: str = "",
        client: str = "",
        status: int = 0,
    ) -> None:
        text = text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…"
        key = (kind, model, worker, text, client)
        known = self._kept.get(key)
        if known is not None:
            known.times += 1
            known.last, known.status = now, status
            self._kept.move_to_end(key)
            return
        self._kept[key] = Incident(kind, model, worker, text, client, status, now)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
