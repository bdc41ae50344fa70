"""A request to a virtual model: it goes to one side, and to the other one if that fails before it answers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
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
from frontend.catalog.model import CatalogModel
from frontend.fleet.base import RequestHandle
from frontend.smart_router.decisions import Decision
from frontend.smart_router.definition import Side
from frontend.smart_router.sides import Sides

# What the other side may do better.
_FALLS_BACK = (RetryElsewhere, RetryLater, CapabilityMissing, ConstraintRejected, ContextExceeded)


class Observer(Protocol):
    """Hears where a request goes."""

    def decided(self, decision: Decision, model: CatalogModel) -> None: ...

    def fell_back(self, error: DroverError, side: Side, model: CatalogModel) -> None: ...


class RoutedRequest:
    """Implements frontend.fleet.base.RequestHandle."""

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

    def __aiter__(self) -> AsyncGenerator[pb.GenerateEvent, None]:
        return self._events()

    def cancel(self) -> None:
        if self._handle is not None:
            self._handle.cancel()

    async def chosen(self) -> tuple[CatalogModel, pb.GenerateRequest]:
        """The side, and what it would be sent."""
        decision = await self._decided()
        return self._sides.model(decision.side), self._sides.request(decision.side)

    async def _events(self) -> AsyncGenerator[pb.GenerateEvent, None]:
        decision = await self._decided()
        try:
            async with aclosing(self._from(decision.side)) as events:
                async for event in events:
                    yield event
            return
        except _FALLS_BACK as error:
            if self._answers or decision.is_final or isinstance(error, DeadlineExceeded):
                raise
            failure = error
        other = decision.side.other
        self._observer.fell_back(failure, other, self._sides.model(other))
        try:
            async with aclosing(self._from(other)) as events:
                async for event in events:
                    yield event
        except _FALLS_BACK:
            if self._answers:
                raise
            # The choice was right: its failure is what there is to say.
            raise failure from None

    async def _decided(self) -> Decision:
        decision = await self._decide()
        self._observer.decided(decision, self._sides.model(decision.side))
        return decision

    async def _from(self, side: Side) -> AsyncGenerator[pb.GenerateEvent, None]:
        """Its events, none before the first that says something."""
        handle = self._handle = self._submit(self._sides.model(side), self._sides.request(side))
        held: list[pb.GenerateEvent] = []
        try:
            async with aclosing(aiter(handle)) as events:
                async for event in events:
                    if self._answers:
                        yield event
                        continue
                    held.append(event)
                    if event.deltas or event.HasField("done"):
                        self._answers = True
                        for early in held:
                            yield early
        finally:
            handle.cancel()
