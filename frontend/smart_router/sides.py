"""The two models behind a request, and what each would be sent: defaults, context and abilities differ."""

from __future__ import annotations

from collections.abc import Callable

from drover.errors import CapabilityMissing, DroverError, InvalidRequest, NoWorkerReady
from drover.v1 import engine_pb2 as pb
from frontend.models.model import CatalogModel, Route, workers_of
from frontend.models.virtual_definition import Side
from frontend.smart_router.decisions import Decision, Reason

Convert = Callable[[CatalogModel], pb.GenerateRequest]


class Sides:
    def __init__(self, route: Route, convert: Convert) -> None:
        self._route = route
        self._convert = convert
        self._made: dict[Side, pb.GenerateRequest | DroverError] = {}

    def model(self, side: Side) -> CatalogModel:
        return self._route.sides[side]

    def request(self, side: Side) -> pb.GenerateRequest:
        """Raises what the conversion raises, and NoWorkerReady."""
        if side not in self._made:
            self._made[side] = self._make(side)
        made = self._made[side]
        if isinstance(made, DroverError):
            raise made
        return made

    def any_request(self) -> tuple[pb.GenerateRequest, Decision | None]:
        """For whoever wants to know what is asked, and the decision where only one side can answer it.
        Raises what the default side raises when none can.
        """
        first = self._route.definition.default
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
    """Raises InvalidRequest for token ids: they are those of one model, and here are two."""
    if request.prompt.context or request.WhichOneof("input") == "tokens":
        raise InvalidRequest(
            "this model chooses between two, and token ids (a context, a prompt of numbers) belong to one of "
            "them; send text, or name that one"
        )
