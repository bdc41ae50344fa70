"""What a request's log line says of the workers that it was on."""

from __future__ import annotations

from drover.errors import DroverError
from frontend.middleware.request_log import RequestRecord
from frontend.routing.resume_strategy import NotResumable, ResumeStrategy
from frontend.routing.scheduler import Waited


class RecordedMoves:
    """Implements frontend.routing.failover.Observer."""

    def __init__(self, record: RequestRecord) -> None:
        self._record = record
        self._waited_seconds = record.waited.seconds

    def waited(self, waited: Waited) -> None:
        """Of waits one after the other, the log has the first position and all of the time; of an answer's
        choices, which wait side by side, that of the longest.
        """
        if not waited.position:
            return
        record = self._record
        position = record.waited.position or waited.position
        self._waited_seconds += waited.seconds
        record.waited = Waited(max(record.waited.seconds, self._waited_seconds), position)
        record.fields["waited_ms"] = round(record.waited.seconds * 1000, 2)
        record.fields["queue_position"] = position

    def sent_to(self, address: str) -> None:
        self._record.fields["worker"] = address

    def retried(self, error: DroverError) -> None:
        self._record.retries += 1
        self._left("retries", self._record.retries, error)

    def moved(self, way: ResumeStrategy, error: DroverError) -> None:
        self._record.moves += 1
        self._left("moves", self._record.moves, error)

    def stuck(self, reason: NotResumable, error: DroverError) -> None:
        self._record.stuck = reason.value
        self._record.fields["stuck"] = reason.value

    def _left(self, what: str, times: int, error: DroverError) -> None:
        self._record.fields[what] = times
        self._record.fields["left_worker_because"] = error.message


class Unrecorded:
    """Implements the same, for a request of our own that nobody has sent."""

    def waited(self, waited: Waited) -> None: ...

    def sent_to(self, address: str) -> None: ...

    def retried(self, error: DroverError) -> None: ...

    def moved(self, way: ResumeStrategy, error: DroverError) -> None: ...

    def stuck(self, reason: NotResumable, error: DroverError) -> None: ...
