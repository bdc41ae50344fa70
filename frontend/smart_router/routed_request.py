"""A request to a virtual model: sent to one side, and to another if that fails before its first token."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from drover.errors import (
    CapabilityMissing,
    ConstraintRejected,
    ContextExceeded,
    DeadlineExceeded,
    DroverError,
    RetryElsewhere,
    RetryLater,
)
from drover.v1 import engine_pb2 as pb
from frontend.models.model import CatalogModel
from frontend.routing.backends.base import EventSink, RequestHandle
from frontend.smart_router.route_decision import RouteDecision
from frontend.smart_router.sides import Sides

# Errors that another side may not have.
_FALLS_BACK = (RetryElsewhere, RetryLater, CapabilityMissing, ConstraintRejected, ContextExceeded)


class Observer(Protocol):
    """Records where a request is sent."""

    def decided(self, decision: RouteDecision, model: CatalogModel) -> None: ...

    def fell_back(self, error: DroverError, failed: str, side: str, model: CatalogModel) -> None:
        """`failed`: the side that was chosen; `side`: the one that is tried now."""


class RoutedRequest:
    """Implements frontend.routing.backends.base.RequestHandle. `decide` is called once per delivery."""

    def __init__(
        self,
        sides: Sides,
        decide: Callable[[], Awaitable[RouteDecision]],
        submit: Callable[[CatalogModel, pb.GenerateRequest], RequestHandle],
        observer: Observer,
    ) -> None:
        self._sides = sides
        self._decide = decide
        self._submit = submit
        self._observer = observer
        self._handle: RequestHandle | None = None
        self._has_answered = False

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    async def chosen(self) -> tuple[CatalogModel, pb.GenerateRequest]:
        """The side's model and the request that it would get."""
        decision = await self._decided()
        return self._sides.model(decision.side), self._sides.request(decision.side)

    async def deliver(self, sink: EventSink) -> None:
        decision = await self._decided()
        try:
            await self._deliver_from(decision.side, sink)
        except _FALLS_BACK as error:
            if decision.is_final or not self._can_fall_back(error):
                raise
            await self._fall_back(decision.side, error, sink)

    async def _fall_back(self, failed: str, failure: DroverError, sink: EventSink) -> None:
        """Try the other sides in turn. Raises `failure`, which is the chosen side's, if none answers."""
        error = failure
        for side in self._sides.fallbacks(failed):
            self._observer.fell_back(error, failed, side, self._sides.model(side))
            try:
                return await self._deliver_from(side, sink)
            except _FALLS_BACK as next_error:
                if not self._can_fall_back(next_error):
                    raise
                error = next_error
        raise failure from None

    def _can_fall_back(self, error: DroverError) -> bool:
        return not (self._has_answered or isinstance(error, DeadlineExceeded))

    async def _decided(self) -> RouteDecision:
        decision = await self._decide()
        self._observer.decided(decision, self._sides.model(decision.side))
        return decision

    async def _deliver_from(self, side: str, sink: EventSink) -> None:
        """Hold back events until the first one with output: until then the request can fall back."""
        handle = self._handle = self._submit(self._sides.model(side), self._sides.request(side))
        held: list[pb.GenerateEvent] = []

        def take_output(event: pb.GenerateEvent) -> Awaitable[object] | None:
            if self._has_answered:
                return sink(event)
            held.append(event)
            if not (event.deltas or event.HasField("done")):
                return None
            self._has_answered = True
            return _release(held, sink)

        try:
            await handle.deliver(take_output)
        finally:
            handle.cancel()


async def _release(held: list[pb.GenerateEvent], sink: EventSink) -> None:
    """Keep no reference to a released event: each may be part of a message with many others."""
    while held:
        if (busy := sink(held.pop(0))) is not None:
            await busy
