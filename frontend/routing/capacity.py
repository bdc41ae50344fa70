"""Requests of this frontend in flight at one worker, and the worker's remaining capacity."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from drover.errors import ProtocolBroken
from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import Abandonable
from frontend.routing.backends.unary_call import UnaryCall
from frontend.routing.circuit_breaker import Attempt
from frontend.routing.stalled_requests import lost_worker, stalled_worker, suspects

if TYPE_CHECKING:
    from drover.errors import DroverError
    from frontend.routing.managed_worker import ManagedWorker

# Share of a worker's slots that this frontend may queue there in addition: one eighth.
_BACKLOG_DIVISOR = 8

Response = TypeVar("Response")


@dataclass(eq=False, slots=True)
class WorkerPermit:
    """Permission for one attempt of a request at a worker. Counts against the worker's limit until `release`.

    Implements stalled_requests.InFlight. `saw_stall`: the worker stalled under this attempt;
    `is_only_suspect`: and no other request can be the cause. `long_tokens`: expected tokens of prefill of a
    long prompt, 0 for a short one.
    """

    worker: ManagedWorker
    attempt: Attempt
    long_tokens: float = 0.0
    awaits_prefill: bool = False
    handle: Abandonable | None = None
    request: pb.GenerateRequest | None = None
    is_answered: bool = False
    has_output: bool = False
    stalls: int = 0
    saw_stall: bool = False
    is_only_suspect: bool = False

    def on_first_event(self) -> None:
        """Call when the worker has sent its first event."""
        self.is_answered = True
        self.worker.record_success(self.attempt)

    def on_output(self) -> None:
        """Call when the first token has come: the prompt is computed."""
        self.has_output = True
        if self.awaits_prefill:
            self.worker.prefilled(self)

    def broke_protocol(self, error: ProtocolBroken) -> None:
        """Call when the worker violated the protocol under this attempt."""
        self.worker.record_violation(error, self.request.request_id if self.request else "")

    def release(self, error: DroverError | None = None) -> None:
        """Release the permit. `error`: what the attempt failed with at the worker. Safe to call twice."""
        self.worker.release(self, error)


@dataclass(frozen=True, slots=True)
class Stall:
    """Requests that a worker had in its engine when it stalled, and those of them that may be the cause."""

    requests: int
    suspects: Sequence[str]


class CapacityTracker:
    """Permits and calls of this frontend at one worker.

    Permits count against the worker's limit. Calls (tokenise, load, ...) do not, but as permits do they keep
    a worker that discovery removed open until they end.
    """

    def __init__(self) -> None:
        # In order of admission.
        self._permits: dict[WorkerPermit, None] = {}
        # With the time at which each began (time.monotonic).
        self._calls: dict[UnaryCall[Any], float] = {}
        self._of_other_frontends = 0
        self._is_full = False
        self.long_requests = 0
        self.long_tokens = 0.0
        """Of the prompts of those."""
        self.long_prefills = 0
        self.long_prefill_tokens = 0.0
        """Of those whose first token has not come."""
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        """Number of permits."""
        return len(self._permits)

    @property
    def load(self) -> int:
        """Requests at the worker, those of other frontends as of its last report."""
        return len(self._permits) + self._of_other_frontends

    def has_room(self, report: pb.LoadReport) -> bool:
        """Whether this frontend may send one more request: its share, and an eighth of it."""
        share = share_of(report)
        return not self._is_full and len(self._permits) < share + max(1, share // _BACKLOG_DIVISOR)

    def on_report(self, report: pb.LoadReport) -> None:
        self._is_full = False
        self._of_other_frontends = max(0, report.running + report.waiting - len(self._permits))

    def on_lost(self) -> None:
        self._of_other_frontends = 0

    def add(self, permit: WorkerPermit) -> None:
        self._permits[permit] = None
        self._idle.clear()
        if permit.long_tokens:
            permit.awaits_prefill = True
            self.long_requests += 1
            self.long_tokens += permit.long_tokens
            self.long_prefills += 1
            self.long_prefill_tokens += permit.long_tokens

    def prefilled(self, permit: WorkerPermit) -> None:
        if permit.awaits_prefill:
            permit.awaits_prefill = False
            self.long_prefills -= 1
            self.long_prefill_tokens -= permit.long_tokens

    def remove(self, permit: WorkerPermit, is_full: bool) -> bool:
        """False if it was removed before. `is_full`: the worker refused it, so it has less room than it
        reported, until another request leaves it or it reports again.
        """
        if permit not in self._permits:
            return False
        del self._permits[permit]
        self._is_full = is_full
        if permit.long_tokens:
            self.prefilled(permit)
            self.long_requests -= 1
            self.long_tokens -= permit.long_tokens
        self._set_if_idle()
        return True

    async def track(self, call: UnaryCall[Response], began: float) -> Response:
        """Wait for a call. `began`: time.monotonic; infinity for one that is never suspected of a stall."""
        self._calls[call] = began
        self._idle.clear()
        try:
            return await call.result()
        finally:
            del self._calls[call]
            self._set_if_idle()

    async def wait_idle(self) -> None:
        """Until there are neither permits nor calls."""
        await self._idle.wait()

    def abandon_all(self, reason: str) -> None:
        """End what is in flight: the worker is lost, and each request may fail over at once."""
        handles = [permit.handle for permit in self._permits if permit.handle is not None]
        for handle in (*handles, *self._calls):
            handle.abandon(lost_worker(reason))

    def abandon_after_stall(self, reason: str, late: float, queued: int) -> Stall:
        """End what is in flight: the worker has stalled, and one of its requests may be the cause. Suspects
        fail, all others may fail over.

        `late`: what began after it (time.monotonic) cannot be the cause; `queued`: how many requests the
        engine had not begun, as of its last report.
        """
        in_engine = self._in_engine(late, queued)
        found = set(suspects(in_engine))
        calls = {call: began for call, began in self._calls.items() if began <= late}
        for permit in in_engine:
            permit.saw_stall = True
            permit.is_only_suspect = found == {permit} and not calls
        for call in calls:
            call.is_only_suspect = len(calls) == 1 and not found
        self._abandon_suspects(reason, found, calls)
        return Stall(
            len(in_engine), [permit.request.request_id for permit in found if permit.request is not None]
        )

    def _abandon_suspects(
        self, reason: str, found: set[WorkerPermit], calls: Mapping[UnaryCall[Any], float]
    ) -> None:
        for permit in list(self._permits):
            if permit.handle is not None:
                permit.handle.abandon(stalled_worker(reason) if permit in found else lost_worker(reason))
        for call in list(self._calls):
            call.abandon(stalled_worker(reason) if call in calls else lost_worker(reason))

    def _in_engine(self, late: float, queued: int) -> Sequence[WorkerPermit]:
        """The requests that the engine had begun: all but the `queued` newest of those without output."""
        there = [permit for permit in self._permits if permit.attempt.began <= late]
        silent = [permit for permit in there if not permit.has_output]
        not_begun = set(silent[max(0, len(silent) - queued) :])
        return [permit for permit in there if permit not in not_begun]

    def _set_if_idle(self) -> None:
        if not (self._permits or self._calls):
            self._idle.set()


def share_of(report: pb.LoadReport) -> float:
    """Share of this frontend of the worker's slots. `has_room` allows some more requests, which wait there,
    so that a freed slot is not empty for a round trip.
    """
    if not report.running_limit:
        return math.inf
    return math.ceil(report.running_limit / max(1, report.frontends))
