"""The way of one attempt's events to the client: checked, entered in the journal, and handed on.

A part of the hot path: one call for an event, or for a token.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import Take, TokenTake, token_event
from frontend.routing.backends.grpc.event_check import AnswerCheck
from frontend.routing.journal import Journal
from frontend.routing.managed_worker import WorkerPermit
from frontend.routing.replay_filter import DeliveredText

Unsaid = Callable[[pb.GenerateEvent], pb.GenerateEvent]


class EventRelay:
    """Implements TokenTake. `unsaid`: of an event, what the client has not had; `told`:
    the texts that it has had, where they may be needed. `first_ns`: of the first event, of
    time.perf_counter_ns.
    """

    __slots__ = (
        "_check",
        "_journal",
        "_place",
        "_take",
        "_take_token",
        "_told",
        "_unsaid",
        "first_ns",
        "is_done",
    )

    def __init__(
        self,
        place: WorkerPermit,
        check: AnswerCheck,
        journal: Journal,
        told: DeliveredText | None,
        unsaid: Unsaid | None,
        take: Take,
    ) -> None:
        self._place = place
        self._check = check
        self._journal = journal
        self._told = told
        self._unsaid = unsaid
        self._take = take
        is_plain = told is None and unsaid is None
        self._take_token = take.token if is_plain and isinstance(take, TokenTake) else None
        self.first_ns = 0
        self.is_done = False

    @property
    def is_answered(self) -> bool:
        """The worker has said something."""
        return bool(self.first_ns)

    def __call__(self, event: pb.GenerateEvent) -> Awaitable[object] | None:
        self._check.saw(event)
        if not self._place.has_output:
            self._begins(bool(event.deltas))
        if self._unsaid is not None:
            event = self._unsaid(event)
        self.is_done = event.HasField("done")
        self._journal.saw(event)
        if self._told is not None:
            self._told.saw(event)
        return self._take(event)

    def token(self, text: str, token_id: int, completion_tokens: int) -> Awaitable[object] | None:
        if self._take_token is None or not self._place.has_output:
            return self(token_event(text, token_id, completion_tokens))
        self._check.saw_token(text)
        self._journal.saw_token(text, token_id)
        return self._take_token(text, token_id, completion_tokens)

    def _begins(self, has_output: bool) -> None:
        if not self.first_ns:
            self.first_ns = time.perf_counter_ns()
            self._place.answers()
        self._place.has_output = has_output
