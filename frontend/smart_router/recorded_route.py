"""What a request's record says of where the smart router sent it."""

from __future__ import annotations

from drover.errors import DroverError
from frontend.models.model import CatalogModel
from frontend.models.virtual_definition import Side
from frontend.observability.request_record import RequestRecord, RouteOutcome
from frontend.smart_router.decisions import Decision


class RecordedRoute:
    """Implements frontend.smart_router.routed_request.Observer."""

    def __init__(self, record: RequestRecord) -> None:
        self._record = record

    def decided(self, decision: Decision, model: CatalogModel) -> None:
        self._goes(RouteOutcome(model.name.short, decision.side.value, decision.reason.value), model)

    def fell_back(self, error: DroverError, side: Side, model: CatalogModel) -> None:
        before = self._record.routed
        reason = before.decision if before is not None else ""
        self._record.fields["left_side_because"] = error.message
        self._goes(RouteOutcome(model.name.short, side.other.value, reason, fell_back=True), model)

    def _goes(self, outcome: RouteOutcome, model: CatalogModel) -> None:
        record = self._record
        record.routed = outcome
        record.served = model.info.names[0] if model.served is not None else ""
        record.fields |= {
            "routed_model": outcome.model,
            "route": outcome.side,
            "route_reason": outcome.reason,
        }
