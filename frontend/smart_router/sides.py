"""A virtual model's sides: their models, and the request that each would get."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from drover.errors import CapabilityMissing, DroverError, InvalidRequest, NoWorkerReady
from drover.v1 import engine_pb2 as pb
from frontend.models.model import CatalogModel, VirtualTargets, workers_of
from frontend.smart_router.route_decision import Reason, RouteDecision

Convert = Callable[[CatalogModel], pb.GenerateRequest]


class Sides:
    """Requests differ by side, as defaults, context and capabilities do. `convert`: called for each side, and
    perhaps again for one that is needed: only the default side's request and the latest one are kept, since
    each may be as large as the body.
    """

    def __init__(self, targets: VirtualTargets, convert: Convert) -> None:
        self._targets = targets
        self._convert = convert
        self._failures: dict[str, DroverError | None] = {}
        self._made: dict[str, pb.GenerateRequest] = {}

    def model(self, side: str) -> CatalogModel:
        return self._targets.sides[side]

    def request(self, side: str) -> pb.GenerateRequest:
        """The side's request. Raises what `convert` raises, and NoWorkerReady."""
        if (failure := self._failures.get(side)) is not None:
            raise failure
        if side not in self._made:
            default = self._targets.definition.default
            self._made = {kept: made for kept, made in self._made.items() if kept == default}
            self._made[side] = self._make(side)
        return self._made[side]

    def candidates(self) -> tuple[str, ...]:
        """The sides that can serve the request, in the definition's order. Raises the default side's error
        if none can.
        """
        able = tuple(side for side in self._targets.sides if self._failure(side) is None)
        if not able:
            self.request(self._targets.definition.default)
        return able

    def only(self, able: tuple[str, ...]) -> RouteDecision | None:
        """The decision if a single side can serve the request."""
        if len(able) != 1:
            return None
        failures = [self._failure(side) for side in self._targets.sides if side not in able]
        all_away = all(isinstance(failure, NoWorkerReady) for failure in failures)
        return RouteDecision(able[0], Reason.AWAY if all_away else Reason.ABILITY)

    def fallbacks(self, failed: str) -> Iterator[str]:
        """The other sides, the default first."""
        default = self._targets.definition.default
        others = [side for side in self._targets.sides if side not in (failed, default)]
        yield from ([default, *others] if failed != default else others)

    def _failure(self, side: str) -> DroverError | None:
        try:
            if side not in self._failures or self._failures[side] is not None:
                self.request(side)
        except (CapabilityMissing, NoWorkerReady) as error:
            return error
        return None

    def _make(self, side: str) -> pb.GenerateRequest:
        model = self.model(side)
        try:
            workers_of(model)
            request = self._convert(model)
            _check_text(request)
        except DroverError as error:
            self._failures[side] = error
            raise
        self._failures[side] = None
        return request


def _check_text(request: pb.GenerateRequest) -> None:
    """Raises InvalidRequest for token ids: they belong to one model, and a virtual model has several."""
    if request.prompt.context or request.WhichOneof("input") == "tokens":
        raise InvalidRequest(
            "this model chooses between others, and token ids (a context, a prompt of numbers) belong to one "
            "of them; send text, or name that one"
        )
