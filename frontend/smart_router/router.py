"""Routes requests to virtual models: by the side that is asked for, by rules, or by the judge."""

from __future__ import annotations

import time

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.models.model import CatalogModel, VirtualTargets, workers_of
from frontend.models.virtual_definition import Side
from frontend.observability.request_record import (
    RecordingObserver,
    RequestRecord,
    RouteOutcome,
    SilentObserver,
)
from frontend.routing.backends.base import RequestHandle
from frontend.routing.failover import FailoverObserver
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from frontend.smart_router.decisions import Decision, DecisionCache, Reason, decide_by_rule
from frontend.smart_router.judge import ask_judge, judge_request
from frontend.smart_router.question import Question
from frontend.smart_router.routed_request import RoutedRequest
from frontend.smart_router.sides import Convert, Sides
from frontend.smart_router.single_flight import SingleFlight


class RequestRouter:
    def __init__(self, fleet: Fleet, decisions: DecisionCache) -> None:
        self._fleet = fleet
        self._decisions = decisions
        self._judging = SingleFlight()

    def request(
        self, targets: VirtualTargets, convert: Convert, requested: Side | None, record: RequestRecord
    ) -> RoutedRequest:
        """`requested`: the side that the request asks for, which goes before the one that the name fixes."""
        sides = Sides(targets, convert)
        forced = requested or targets.forced

        async def decide() -> Decision:
            return await self._decide(targets, sides, forced, record)

        def submit(model: CatalogModel, request: pb.GenerateRequest) -> RequestHandle:
            return self._send(model, request, record.ticket, RecordingObserver(record))

        return RoutedRequest(sides, decide, submit, _RecordingObserver(record))

    async def _decide(
        self, targets: VirtualTargets, sides: Sides, forced: Side | None, record: RequestRecord
    ) -> Decision:
        if forced is not None:
            return Decision(forced, Reason.FORCED)
        request, only = sides.any_request()
        if only is not None:
            return only
        question = Question.of(request)
        return decide_by_rule(question, targets.definition) or await self._judge(targets, question, record)

    async def _judge(self, targets: VirtualTargets, question: Question, record: RequestRecord) -> Decision:
        definition = targets.definition
        cached = self._decisions.find(definition, question)
        if cached is not None:
            return Decision(cached, Reason.KEPT)
        if targets.judge.served is None:
            return Decision(definition.default, Reason.JUDGE_FAILED)
        return await self._judging.decision(
            (definition, question), lambda: self._ask_judge(targets, question, record)
        )

    async def _ask_judge(
        self, targets: VirtualTargets, question: Question, record: RequestRecord
    ) -> Decision:
        definition = targets.definition
        request = judge_request(question, targets.judge.info)
        began = time.perf_counter()
        decision = await ask_judge(
            lambda: self._send(targets.judge, request, record.ticket, SilentObserver()),
            definition.default,
            definition.judge_timeout_seconds,
        )
        record.record_judge(targets.judge.info.names[0], time.perf_counter() - began)
        if decision.reason is Reason.JUDGE:
            self._decisions.add(definition, question, decision.side)
        return decision

    def _send(
        self, model: CatalogModel, request: pb.GenerateRequest, ticket: Ticket, observer: FailoverObserver
    ) -> RequestHandle:
        return self._fleet.submit(workers_of(model), request, ticket, observer)


class _RecordingObserver:
    """Implements frontend.smart_router.routed_request.Observer for the log and the metrics."""

    def __init__(self, record: RequestRecord) -> None:
        self._record = record

    def decided(self, decision: Decision, model: CatalogModel) -> None:
        self._set(RouteOutcome(model.name.short, decision.side.value, decision.reason.value), model)

    def fell_back(self, error: DroverError, side: Side, model: CatalogModel) -> None:
        before = self._record.routed
        decision = before.decision if before is not None else ""
        self._record.fields["side_error"] = error.message
        self._set(RouteOutcome(model.name.short, side.other.value, decision, fell_back=True), model)

    def _set(self, outcome: RouteOutcome, model: CatalogModel) -> None:
        record = self._record
        record.routed = outcome
        record.served = model.info.names[0] if model.served is not None else ""
        record.fields |= {
            "routed_model": outcome.model,
            "route": outcome.side,
            "route_reason": outcome.reason,
        }
