"""What a request's log line says of the workers that it was on."""

from __future__ import annotations

from drover.errors import DroverError
from frontend.admission.gate import Waited
from frontend.fleet.moving.way_on import Stuck, WayOn
from frontend.telemetry.request_log import RequestRecord


class RecordedMoves:
    """Implements frontend.fleet.moving.request.Observer."""

    def __init__(self, record: RequestRecord) -> None:
        self._fields = record.fields

    def waited(self, waited: Waited) -> None:
        if waited.position:
            self._fields["waited_ms"] = round(waited.seconds * 1000, 2)
            self._fields["queue_position"] = waited.position

    def sent_to(self, address: str) -> None:
        self._fields["worker"] = address

    def retried(self, error: DroverError) -> None:
        self._count("retries", error)

    def moved(self, way: WayOn, error: DroverError) -> None:
        self._count("moves", error)

    def stuck(self, reason: Stuck, error: DroverError) -> None:
        self._fields["stuck"] = reason.value

    def _count(self, what: str, error: DroverError) -> None:
        count = self._fields.get(what, 0)
        self._fields[what] = count + 1 if isinstance(count, int) else 1
        self._fields["left_worker_because"] = error.message
