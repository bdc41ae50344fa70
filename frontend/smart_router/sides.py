"""A virtual model's two sides: their models, and the request that each would get."""

from __future__ import annotations

from collections.abc import Callable

from drover.errors import CapabilityMissing, DroverError, InvalidRequest, NoWorkerReady
from drover.v1 import engine_pb2 as pb
from frontend.models.model import CatalogModel, VirtualTargets, workers_of
from frontend.models.virtual_definition import Side
from frontend.smart_router.decisions import Decision, Reason

Convert = Callable[[CatalogModel], pb.GenerateRequest]


class Sides:
    """Requests differ by side, as defaults, context and capabilities do. `convert`: called once per side."""

    def __init__(self, targets: VirtualTargets, convert: Convert) -> None:
        self._targets = targets
        self._convert = convert
        self._requests: dict[Side, pb.GenerateRequest | DroverError] = {}

    def model(self, side: Side) -> CatalogModel:
        return self._targets.sides[side]

    def request(self, side: Side) -> pb.GenerateRequest:
        """The side's request. Raises what `convert` raises, and NoWorkerReady."""
        if side not in self._requests:
            self._requests[side] = self._make(side)
        made = self._requests[side]
        if isinstance(made, DroverError):
            raise made
        return made

    def any_request(self) -> tuple[pb.GenerateRequest, Decision | None]:
        """A request that can be judged, with the decision if only one side can serve it. Raises the default
        side's error if none can.
        """
        first = self._targets.definition.default
        failure = self._failure(first)
        if failure is None:
            return self.request(first), self._only(first)
        if self._failure(first.other) is not None:
            raise failure
        return self.request(first.other), self._only(first.other)

    def _only(self, side: Side) -> Decision | None:
        failure = self._failure(side.other)
        if failure is None:
            return None
        return Decision(side, Reason.AWAY if isinstance(failure, NoWorkerReady) else Reason.ABILITY)

    def _failure(self, side: Side) -> DroverError | None:
        try:
            self.request(side)
        except (CapabilityMissing, NoWorkerReady) as error:
            return error
        return None

    def _make(self, side: Side) -> pb.GenerateRequest | DroverError:
        model = self.model(side)
        try:
            workers_of(model)
            request = self._convert(model)
            _check_text(request)
            return request
        except DroverError as error:
            return error


def _check_text(request: pb.GenerateRequest) -> None:
    """Raises InvalidRequest for token ids: they belong to one model, and a virtual model has two."""
    if request.prompt.context or request.WhichOneof("input") == "tokens":
        raise InvalidRequest(
            "this model chooses between two, and token ids (a context, a prompt of numbers) belong to one of "
            "them; send text, or name that one"
        )
