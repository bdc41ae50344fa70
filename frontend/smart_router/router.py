"""Routes requests to virtual models: by the side that is requested, by rules, or by the judge."""

from __future__ import annotations

import time

from drover.errors import DroverError
from drover.v1 import engine_pb2 as pb
from frontend.models.model import CatalogModel, VirtualTargets, workers_of
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
from frontend.smart_router.judge import decide_by_label, decide_by_score, label_request, score_request
from frontend.smart_router.question import Question
from frontend.smart_router.route_decision import DecisionCache, Reason, RouteDecision, decide_by_rule
from frontend.smart_router.routed_request import RoutedRequest
from frontend.smart_router.sides import Convert, Sides
from frontend.smart_router.single_flight import SingleFlight

Labels = tuple[str, ...]


class RequestRouter:
    def __init__(self, fleet: Fleet, decisions: DecisionCache) -> None:
        self._fleet = fleet
        self._decisions = decisions
        self._judging = SingleFlight()

    def request(
        self, targets: VirtualTargets, convert: Convert, requested: str | None, record: RequestRecord
    ) -> RoutedRequest:
        """`requested`: the side that the request asks for, which goes before the one that the name fixes."""
        sides = Sides(targets, convert)
        forced = requested or targets.forced

        async def decide() -> RouteDecision:
            return await self._decide(targets, sides, forced, record)

        def submit(model: CatalogModel, request: pb.GenerateRequest) -> RequestHandle:
            if record.trace is not None:
                record.trace.describe(request)
            return self._send(model, request, record.ticket, RecordingObserver(record))

        return RoutedRequest(sides, decide, submit, _RecordingObserver(record))

    async def _decide(
        self, targets: VirtualTargets, sides: Sides, forced: str | None, record: RequestRecord
    ) -> RouteDecision:
        if forced is not None:
            return RouteDecision(forced, Reason.FORCED)
        able = sides.candidates()
        if (only := sides.only(able)) is not None:
            return only
        default = targets.definition.default
        question = Question.of(sides.request(default if default in able else able[0]))
        by_rule = decide_by_rule(question, targets.definition)
        return by_rule or await self._judge(targets, question, able, record)

    async def _judge(
        self, targets: VirtualTargets, question: Question, able: Labels, record: RequestRecord
    ) -> RouteDecision:
        """`able`: the sides that can serve the request."""
        definition = targets.definition
        cached = self._decisions.find(definition, question, able)
        if cached is not None:
            return cached
        if targets.judge.served is None:
            return RouteDecision(definition.default, Reason.JUDGE_FAILED)
        return await self._judging.decision(
            (definition, question, able), lambda: self._ask_judge(targets, question, able, record)
        )

    async def _ask_judge(
        self, targets: VirtualTargets, question: Question, able: Labels, record: RequestRecord
    ) -> RouteDecision:
        began = time.perf_counter()
        decision = await self._scored_or_labelled(targets, question, able, record)
        record.record_judge(targets.judge.info.names[0], time.perf_counter() - began)
        if decision.is_judged:
            self._decisions.add(targets.definition, question, able, decision)
        return decision

    async def _scored_or_labelled(
        self, targets: VirtualTargets, question: Question, able: Labels, record: RequestRecord
    ) -> RouteDecision:
        judge, definition = targets.judge, targets.definition
        sides = definition.descriptions(able)
        if judge.info.capabilities.decision:
            scores = score_request(question, sides, judge.info)
            scores.adapter = judge.adapter
            response = self._fleet.score(
                workers_of(judge), scores, record.ticket, SilentObserver(record.trace)
            )
            return await decide_by_score(response, sides, definition)
        request = label_request(question, sides, judge.info)
        request.adapter = judge.adapter
        return await decide_by_label(
            lambda: self._send(judge, request, record.ticket, SilentObserver(record.trace)), sides, definition
        )

    def _send(
        self, model: CatalogModel, request: pb.GenerateRequest, ticket: Ticket, observer: FailoverObserver
    ) -> RequestHandle:
        return self._fleet.submit(workers_of(model), request, ticket, observer)


class _RecordingObserver:
    """Implements frontend.smart_router.routed_request.Observer for the log and the metrics."""

    def __init__(self, record: RequestRecord) -> None:
        self._record = record

    def decided(self, decision: RouteDecision, model: CatalogModel) -> None:
        if (verdict := decision.verdict) is not None:
            self._record.record_verdict(verdict.probability, verdict.label_mass)
        self._set(RouteOutcome(model.name.short, decision.side, decision.reason.value), model)

    def fell_back(self, error: DroverError, failed: str, side: str, model: CatalogModel) -> None:
        before = self._record.routed
        decision = before.decision if before is not None else ""
        self._record.fields["side_error"] = error.message
        self._set(RouteOutcome(model.name.short, failed, decision, fell_back=True), model)

    def _set(self, outcome: RouteOutcome, model: CatalogModel) -> None:
        record = self._record
        record.routed = outcome
        record.served = model.info.names[0] if model.served is not None else ""
        record.fields |= {
            "routed_model": outcome.model,
            "route": outcome.side,
            "route_reason": outcome.reason,
        }
