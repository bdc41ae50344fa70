"""The decisions about requests to virtual models: what is asked for, what rules say, what the judge says."""

from __future__ import annotations

import time

from drover.v1 import engine_pb2 as pb
from frontend.models.model import CatalogModel, Route, workers_of
from frontend.models.virtual_definition import Side
from frontend.observability.request_observer import RecordingObserver, SilentObserver
from frontend.observability.request_record import RequestRecord
from frontend.routing.backends.base import RequestHandle
from frontend.routing.failover import FailoverObserver
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet
from frontend.smart_router.decisions import Decision, Decisions, Reason
from frontend.smart_router.judge import judge_request, judged
from frontend.smart_router.question import Question
from frontend.smart_router.recorded_route import RecordedRoute
from frontend.smart_router.routed_request import RoutedRequest
from frontend.smart_router.rules import by_rule
from frontend.smart_router.sides import Convert, Sides
from frontend.smart_router.single_flight import SingleFlight


class RequestRouter:
    def __init__(self, fleet: Fleet, decisions: Decisions) -> None:
        self._fleet = fleet
        self._decisions = decisions
        self._under_way = SingleFlight()

    def request(
        self, route: Route, convert: Convert, wish: Side | None, record: RequestRecord
    ) -> RoutedRequest:
        """`wish`: what the request asks for; it goes before what the name asks for."""
        sides = Sides(route, convert)
        forced = wish or route.forced

        async def decide() -> Decision:
            return await self._decide(route, sides, forced, record)

        def submit(model: CatalogModel, request: pb.GenerateRequest) -> RequestHandle:
            return self._send(model, request, record.ticket, RecordingObserver(record))

        return RoutedRequest(sides, decide, submit, RecordedRoute(record))

    async def _decide(
        self, route: Route, sides: Sides, forced: Side | None, record: RequestRecord
    ) -> Decision:
        if forced is not None:
            return Decision(forced, Reason.FORCED)
        request, only = sides.any_request()
        if only is not None:
            return only
        question = Question.of(request)
        return by_rule(question, route.definition) or await self._judge(route, question, record)

    async def _judge(self, route: Route, question: Question, record: RequestRecord) -> Decision:
        definition = route.definition
        kept = self._decisions.find(definition, question)
        if kept is not None:
            return Decision(kept, Reason.KEPT)
        if route.judge.served is None:
            return Decision(definition.default, Reason.JUDGE_FAILED)
        return await self._under_way.decision(
            (definition, question), lambda: self._ask_judge(route, question, record)
        )

    async def _ask_judge(self, route: Route, question: Question, record: RequestRecord) -> Decision:
        definition = route.definition
        request = judge_request(question, route.judge.info)
        began = time.perf_counter()
        decision = await judged(
            lambda: self._send(route.judge, request, record.ticket, SilentObserver()),
            definition.default,
            definition.judge_timeout_seconds,
        )
        record.record_judge(route.judge.info.names[0], time.perf_counter() - began)
        if decision.reason is Reason.JUDGE:
            self._decisions.keep(definition, question, decision.side)
        return decision

    def _send(
        self, model: CatalogModel, request: pb.GenerateRequest, ticket: Ticket, observer: FailoverObserver
    ) -> RequestHandle:
        return self._fleet.submit(workers_of(model), request, ticket, observer)
