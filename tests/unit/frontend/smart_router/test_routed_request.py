"""A request goes to the other side as long as nothing has been answered, and never where a side was named."""

from __future__ import annotations

import json

import pytest

from drover.errors import (
    CapabilityMissing,
    ContextExceeded,
    DeadlineExceeded,
    DroverError,
    EngineFailed,
    InvalidRequest,
    NoWorkerReady,
    QueueFull,
    WorkerUnreachable,
)
from drover.names import ModelName
from drover.v1 import engine_pb2 as pb
from frontend.models.model import CatalogModel, VirtualTargets
from frontend.models.virtual_definition import COMPLEX, SIMPLE, virtual_models
from frontend.routing.backends.delivery import events_of
from frontend.routing.served_model import ServedModel
from frontend.smart_router.route_decision import Reason, RouteDecision
from frontend.smart_router.routed_request import RoutedRequest
from frontend.smart_router.sides import Sides
from tests.fakes.stalling_worker import StallingHandle, Step, content, done, started

(_AUTO,) = virtual_models('{"auto": {"simple": "small", "complex": "big"}}').values()


def _model(name: ModelName) -> CatalogModel:
    return CatalogModel(name, ServedModel(name, pb.Model(names=[name.short])))


def _targets() -> VirtualTargets:
    sides = {side.label: _model(side.model) for side in _AUTO.sides}
    return VirtualTargets(_AUTO, sides, sides[SIMPLE])


class _Case:
    """One request. `steps`: the events of each side's model. Implements
    frontend.smart_router.routed_request.Observer.
    """

    def __init__(self, reason: Reason = Reason.JUDGE, **steps: list[Step]) -> None:
        self._steps = steps
        self._decision = RouteDecision(SIMPLE, reason)
        self.refuses: dict[str, DroverError] = {}
        self.observed: list[str] = []
        self.handles: list[StallingHandle] = []

    def decided(self, decision: RouteDecision, model: CatalogModel) -> None:
        self.observed.append(f"{decision.side}: {model.name.model}")

    def fell_back(self, error: DroverError, failed: str, side: str, model: CatalogModel) -> None:
        assert failed == SIMPLE
        self.observed.append(f"{type(error).__name__}, {side}: {model.name.model}")

    def _convert(self, model: CatalogModel) -> pb.GenerateRequest:
        if (error := self.refuses.get(model.name.model)) is not None:
            raise error
        return pb.GenerateRequest(model=model.info.names[0], raw="hi")

    def _submit(self, model: CatalogModel, request: pb.GenerateRequest) -> StallingHandle:
        assert request.model == model.info.names[0]
        self.handles.append(StallingHandle(request, "", self._steps[model.name.model]))
        return self.handles[-1]

    async def _decide(self) -> RouteDecision:
        return self._decision

    async def text(self) -> str:
        request = RoutedRequest(Sides(_targets(), self._convert), self._decide, self._submit, self)
        return "".join([delta.content async for event in events_of(request) for delta in event.deltas])


async def test_the_chosen_side_answers() -> None:
    case = _Case(small=[started(), content("Hi"), done()])
    assert await case.text() == "Hi"
    assert case.observed == ["simple: small"]
    assert all(handle.cancelled.is_set() for handle in case.handles)


@pytest.mark.parametrize(
    "failure",
    [WorkerUnreachable("a"), EngineFailed("b"), NoWorkerReady("c"), QueueFull(), ContextExceeded("d")],
)
async def test_the_other_side_answers_when_it_fails_before_the_first_token(failure: DroverError) -> None:
    """Also when it has begun to read the prompt: its `started` event is not delivered."""
    case = _Case(small=[started(), failure], big=[started(), content("Hello"), done()])
    assert await case.text() == "Hello"
    assert case.observed == ["simple: small", f"{type(failure).__name__}, complex: big"]
    assert case.handles[0].cancelled.is_set()


async def test_a_failure_after_the_first_token_is_raised() -> None:
    case = _Case(small=[content("H"), EngineFailed("broke")])
    with pytest.raises(EngineFailed, match="broke"):
        await case.text()
    assert len(case.handles) == 1


@pytest.mark.parametrize("failure", [InvalidRequest("bad"), DeadlineExceeded("late")])
async def test_a_failure_of_the_request_itself_is_raised(failure: DroverError) -> None:
    case = _Case(small=[failure])
    with pytest.raises(type(failure)):
        await case.text()


async def test_a_named_side_is_the_only_one() -> None:
    case = _Case(Reason.FORCED, small=[EngineFailed("broke")])
    with pytest.raises(EngineFailed):
        await case.text()
    assert case.observed == ["simple: small"]


async def test_when_both_sides_fail_the_first_failure_is_raised() -> None:
    case = _Case(small=[EngineFailed("small broke")], big=[WorkerUnreachable("big is away")])
    with pytest.raises(EngineFailed, match="small broke"):
        await case.text()


async def test_a_side_without_the_capability_is_no_fallback() -> None:
    case = _Case(small=[EngineFailed("small broke")])
    case.refuses["big"] = CapabilityMissing("big cannot")
    with pytest.raises(EngineFailed, match="small broke"):
        await case.text()


def _sides(**refuses: DroverError) -> Sides:
    case = _Case()
    case.refuses = refuses
    return Sides(_targets(), case._convert)


def _only(**refuses: DroverError) -> RouteDecision | None:
    sides = _sides(**refuses)
    return sides.only(sides.candidates())


def test_the_only_capable_side_needs_no_judge() -> None:
    assert _only() is None
    assert _only(small=CapabilityMissing("")) == RouteDecision(COMPLEX, Reason.ABILITY)
    assert _only(big=CapabilityMissing("")) == RouteDecision(SIMPLE, Reason.ABILITY)
    assert _only(big=NoWorkerReady("")) == RouteDecision(SIMPLE, Reason.AWAY)


def test_when_no_side_is_capable_the_default_sides_error_is_raised() -> None:
    with pytest.raises(CapabilityMissing, match="small cannot"):
        _sides(small=CapabilityMissing("small cannot"), big=CapabilityMissing("big cannot")).candidates()


def test_a_malformed_request_is_sent_to_no_side() -> None:
    with pytest.raises(InvalidRequest):
        _sides(small=InvalidRequest("bad")).candidates()


def test_the_requests_of_many_sides_are_not_all_held() -> None:
    """Each may be as large as the body."""
    kinds = {f"side{number}": {"model": "m", "description": "any"} for number in range(10)}
    (definition,) = virtual_models(json.dumps({"auto": {"models": kinds}})).values()
    targets = VirtualTargets(
        definition, {label: _model(definition.judge) for label in kinds}, _model(definition.judge)
    )
    made = 0

    def convert(model: CatalogModel) -> pb.GenerateRequest:
        nonlocal made
        made += 1
        return pb.GenerateRequest(raw="hi")

    sides = Sides(targets, convert)
    assert (sides.candidates(), sides.candidates(), made) == (tuple(kinds), tuple(kinds), 10)
    for label in ("side0", "side9"):
        assert (sides.request(label).raw, made) == ("hi", 10)
    for label in ("side5", "side5", "side0"):
        assert (sides.request(label).raw, made) == ("hi", 11)


def test_token_ids_belong_to_one_model() -> None:
    sides = Sides(
        _targets(), lambda model: pb.GenerateRequest(prompt=pb.PromptInput(text="hi", context=[1, 2]))
    )
    with pytest.raises(InvalidRequest, match="token ids"):
        sides.request(SIMPLE)
