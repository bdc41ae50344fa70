"""Passes one attempt's events on to the client: checked, entered in the journal, filtered.

Hot path: one call per event, or per token.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

from drover.v1 import engine_pb2 as pb
from frontend.routing.backends.base import EventSink, TokenSink, token_event
from frontend.routing.backends.grpc.event_check import EventCheck
from frontend.routing.capacity import WorkerPermit
from frontend.routing.journal import Journal
from frontend.routing.replay_filter import DeliveredText

EventFilter = Callable[[pb.GenerateEvent], pb.GenerateEvent]
"""Removes from an event what the client already has. Raises EngineFailed where the two differ."""


class EventRelay:
    """Implements TokenSink. `delivered`: collects the texts that the client has, if a replay may have to be
    compared with them. `load_ns`: how long the request waited for a host to load its model. `first_ns`: when
    the first event came (time.perf_counter_ns), 0 before it. `done`: of the last event, once it has come.
    """

    __slots__ = (
        "_check",
        "_delivered",
        "_filter_event",
        "_journal",
        "_load_ns",
        "_permit",
        "_sink",
        "_token_sink",
        "done",
        "first_ns",
        "is_done",
    )

    def __init__(
        self,
        permit: WorkerPermit,
        check: EventCheck,
        journal: Journal,
        delivered: DeliveredText | None,
        filter_event: EventFilter | None,
        sink: EventSink,
        load_ns: int = 0,
    ) -> None:
        self._permit = permit
        self._check = check
        self._journal = journal
        self._delivered = delivered
        self._filter_event = filter_event
        self._sink = sink
        self._load_ns = load_ns
        is_plain = delivered is None and filter_event is None
        self._token_sink = sink.token if is_plain and isinstance(sink, TokenSink) else None
        self.first_ns = 0
        self.is_done = False
        self.done: pb.Done | None = None

    def __call__(self, event: pb.GenerateEvent) -> Awaitable[object] | None:
        self._check.check(event)
        if not self._permit.has_output:
            self._begin_output(bool(event.deltas))
        if self._filter_event is not None:
            event = self._filter_event(event)
        if event.HasField("done"):
            self.is_done, self.done = True, event.done
            event.done.timings.load_ns += self._load_ns
        self._journal.record(event)
        if self._delivered is not None:
            self._delivered.record(event)
        return self._sink(event)

    def token(self, text: str, token_id: int, completion_tokens: int) -> Awaitable[object] | None:
        if self._token_sink is None or not self._permit.has_output:
            return self(token_event(text, token_id, completion_tokens))
        self._check.check_token(text)
        self._journal.record_token(text, token_id)
        return self._token_sink(text, token_id, completion_tokens)

    def _begin_output(self, has_output: bool) -> None:
        if not self.first_ns:
            self.first_ns = time.perf_counter_ns()
            self._permit.on_first_event()
        if has_output:
            self._permit.on_output()
