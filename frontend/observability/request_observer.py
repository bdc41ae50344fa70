"""Writes a request's wait, attempts and failovers into its record."""

from __future__ import annotations

from drover.errors import DroverError
from frontend.observability.request_record import RequestRecord
from frontend.routing.model_queue import QueueWait
from frontend.routing.resume_strategy import NotResumable, ResumeStrategy


class RecordingObserver:
    """Implements frontend.routing.failover.FailoverObserver."""

    def __init__(self, record: RequestRecord) -> None:
        self._record = record
        self._waited_seconds = record.waited.seconds

    def waited(self, waited: QueueWait) -> None:
        """Sum up consecutive waits, with the first position. Of choices that wait in parallel the record has
        the longest.
        """
        if not waited.position:
            return
        record = self._record
        position = record.waited.position or waited.position
        self._waited_seconds += waited.seconds
        record.waited = QueueWait(max(record.waited.seconds, self._waited_seconds), position)
        record.fields["waited_ms"] = round(record.waited.seconds * 1000, 2)
        record.fields["queue_position"] = position

    def sent_to(self, address: str) -> None:
        self._record.fields["worker"] = address

    def retried(self, error: DroverError) -> None:
        self._record.retries += 1
        self._record_failure("retries", self._record.retries, error)

    def failed_over(self, strategy: ResumeStrategy, error: DroverError) -> None:
        self._record.failovers += 1
        self._record_failure("failovers", self._record.failovers, error)

    def not_resumable(self, reason: NotResumable, error: DroverError) -> None:
        self._record.not_resumable = reason.value
        self._record.fields["not_resumable"] = reason.value

    def _record_failure(self, field: str, times: int, error: DroverError) -> None:
        self._record.fields[field] = times
        self._record.fields["worker_error"] = error.message


class SilentObserver:
    """The same for a request of this frontend's own, which has no record."""

    def waited(self, waited: QueueWait) -> None: ...

    def sent_to(self, address: str) -> None: ...

    def retried(self, error: DroverError) -> None: ...

    def failed_over(self, strategy: ResumeStrategy, error: DroverError) -> None: ...

    def not_resumable(self, reason: NotResumable, error: DroverError) -> None: ...
