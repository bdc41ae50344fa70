"""A request to a virtual model: it goes to one side, and to the other one if that fails before it answers."""

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
from frontend.models.virtual_definition import Side
from frontend.routing.backends.base import EventSink, RequestHandle
from frontend.smart_router.decisions import Decision
from frontend.smart_router.sides import Sides

# What the other side may do better.
_FALLS_BACK = (RetryElsewhere, RetryLater, CapabilityMissing, ConstraintRejected, ContextExceeded)


class Observer(Protocol):
    """Hears where a request goes."""

    def decided(self, decision: Decision, model: CatalogModel) -> None: ...

    def fell_back(self, error: DroverError, side: Side, model: CatalogModel) -> None: ...


class RoutedRequest:
    """Implements frontend.routing.backends.base.RequestHandle."""

    def __init__(
        self,
        sides: Sides,
        decide: Callable[[], Awaitable[Decision]],
        submit: Callable[[CatalogModel, pb.GenerateRequest], RequestHandle],
        observer: Observer,
    ) -> None:
        self._sides = sides
        self._decide = decide
        self._submit = submit
        self._observer = observer
        self._handle: RequestHandle | None = None
        self._answers = False

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    async def chosen(self) -> tuple[CatalogModel, pb.GenerateRequest]:
        """The side, and what it would be sent."""
        decision = await self._decided()
        return self._sides.model(decision.side), self._sides.request(decision.side)

    async def deliver(self, take: EventSink) -> None:
        decision = await self._decided()
        try:
            await self._deliver_from(decision.side, take)
            return
        except _FALLS_BACK as error:
            if self._answers or decision.is_final or isinstance(error, DeadlineExceeded):
                raise
            failure = error
        other = decision.side.other
        self._observer.fell_back(failure, other, self._sides.model(other))
        try:
            await self._deliver_from(other, take)
        except _FALLS_BACK:
            if self._answers:
                raise
            # The choice was right: its failure is what there is to say.
            raise failure from None

    async def _decided(self) -> Decision:
        decision = await self._decide()
        self._observer.decided(decision, self._sides.model(decision.side))
        return decision

    async def _deliver_from(self, side: Side, take: EventSink) -> None:
        """None of its events before the first that says something."""
        handle = self._handle = self._submit(self._sides.model(side), self._sides.request(side))
        held: list[pb.GenerateEvent] = []

        def take_answers(event: pb.GenerateEvent) -> Awaitable[object] | None:
            if self._answers:
                return take(event)
            held.append(event)
            if not (event.deltas or event.HasField("done")):
                return None
            self._answers = True
            return _hand_on(held, take)

        try:
            await handle.deliver(take_answers)
        finally:
            handle.cancel()


async def _hand_on(held: list[pb.GenerateEvent], take: EventSink) -> None:
    """Keeps none: each may be a part of a message with many others."""
    while held:
        if (busy := take(held.pop(0))) is not None:
            await busy
