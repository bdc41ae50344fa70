"""The steps of all generating routes: find the model, build the engine's request, submit it.

They raise errors in upstream's order (ollama-contract.md, "Errors").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

from fastapi import Request

from drover.concurrency import run_in_thread_if_large
from drover.errors import ModelNotFound
from drover.v1 import engine_pb2 as pb
from frontend.access.keep_alive import check_may_unload
from frontend.api.core.body import INLINE_BYTES
from frontend.api.core.conversion import CheckedRequest, check_template
from frontend.api.core.keep_alive import load_to_proto
from frontend.api.core.name_resolution import find_named
from frontend.api.core.request import ChatRequest, GenerateRequest
from frontend.api.in_flight import InFlightRequests
from frontend.middleware.held_bodies import held_body_of
from frontend.models.catalog import Catalog
from frontend.models.model import CatalogModel, workers_of
from frontend.observability.request_record import RecordingObserver, record_of
from frontend.routing.backends.base import RequestHandle
from frontend.routing.replicas import wait_for_any
from frontend.routing.served_model import ServedModel
from frontend.settings import FrontendSettings
from frontend.smart_router.router import RequestRouter
from frontend.smart_router.sides import Convert

_ROUTE_HEADER = "x-drover-route"

Extend = Callable[[pb.GenerateRequest], None]
"""Adds what only one dialect has to an engine's request."""


@dataclass(frozen=True, slots=True)
class BuiltRequest:
    """A request that is ready to be submitted. `not_honoured`: names of what has no effect on this model.

    `message`: what the engine gets. It is empty for a virtual model: `convert` makes it for the side that the
    smart router chooses. `side`: the label of the side that the client asks for.
    """

    model: CatalogModel
    convert: Convert
    message: pb.GenerateRequest
    side: str | None
    not_honoured: list[str]


def _nothing(message: pb.GenerateRequest) -> None:
    """The dialect has nothing to add."""


@dataclass(frozen=True, slots=True)
class Generation:
    catalog: Catalog
    settings: FrontendSettings
    in_flight: InFlightRequests
    router: RequestRouter

    async def find(self, http: Request, text: str) -> CatalogModel:
        """Find a model that workers serve, and note it in the request's record.

        Raises InvalidRequest for an invalid name, ModelNotFound with the name as it was sent, and NotOffered
        for models of ollama.com.
        """
        record = record_of(http.scope)
        record.fields["model"] = text
        model = await find_named(self.catalog, text) if text else None
        if model is None:
            raise ModelNotFound(f"model '{text}' not found")
        record.model = model.name.short
        served = workers_of(model)
        # The smart router notes the name of the side that it chooses.
        record.served = served.info.names[0] if model.virtual is None else ""
        return model

    def track(self, http: Request) -> AbstractAsyncContextManager[None]:
        """Cancel the block when the client leaves, the deadline passes or the server stops."""
        return self.in_flight.track(http.scope, http.receive)

    async def load(self, http: Request, model: CatalogModel, keep_alive_ns: int | None) -> None:
        async with self.track(http):
            request = load_to_proto(keep_alive_ns)
            record = record_of(http.scope)
            await wait_for_any(
                self.catalog.fleet.load(served, request, RecordingObserver(record))
                for served in _all_of(model)
            )

    async def unload(self, model: CatalogModel) -> None:
        """Raises NotPermitted if the request's key may not."""
        check_may_unload()
        await wait_for_any(self.catalog.fleet.unload(served) for served in _all_of(model))

    async def check(self, model: CatalogModel, request: ChatRequest | GenerateRequest) -> CheckedRequest:
        """Raises CapabilityMissing for what the model cannot do, InvalidOption for an option or a template
        that cannot be used.
        """
        checked = CheckedRequest.of(request, model)
        if isinstance(request, GenerateRequest) and request.template:
            await check_template(request.template)
        return checked

    async def build_request(
        self,
        http: Request,
        model: CatalogModel,
        request: ChatRequest | GenerateRequest,
        extend: Extend = _nothing,
    ) -> BuiltRequest:
        """Check a request and convert it for the engine. Raises what `check`, the conversion and `extend`
        raise, and InvalidRequest for an unknown side of a virtual model.
        """
        checked = await self.check(model, request)
        convert = partial(self._convert, request, extend)
        side, message = None, pb.GenerateRequest()
        if model.virtual is not None:
            side = model.virtual.definition.requested(checked.route or http.headers.get(_ROUTE_HEADER, ""))
        else:
            # A long conversation takes tens of milliseconds to copy.
            message = await run_in_thread_if_large(
                lambda: self._to_proto(checked, extend), held_body_of(http.scope).length, INLINE_BYTES
            )
        return BuiltRequest(model, convert, message, side, checked.not_honoured)

    def submit(self, http: Request, built: BuiltRequest, stream: bool) -> RequestHandle:
        """Hand the request to the scheduler, or to the smart router for a virtual model. Nothing is sent
        before the handle delivers. Raises InvalidRequest for scheduling headers that cannot be read.
        """
        record = record_of(http.scope)
        self.in_flight.scheduling(http.scope)
        if (targets := built.model.virtual) is not None:
            convert = built.convert if stream else _whole(built.convert)
            return self.router.request(targets, convert, built.side, record)
        built.message.whole = not stream
        if record.trace is not None:
            record.trace.describe(built.message)
        served, observer = workers_of(built.model), RecordingObserver(record)
        return self.catalog.fleet.submit(served, built.message, record.ticket, observer)

    async def render(self, http: Request, built: BuiltRequest) -> pb.RenderResponse:
        """Ask a worker for the prompt that it would make of the request."""
        async with self.track(http):
            model, message = built.model, built.message
            if model.virtual is not None:
                routed = self.router.request(model.virtual, built.convert, built.side, record_of(http.scope))
                model, message = await routed.chosen()
            return await self.catalog.fleet.call(
                workers_of(model), lambda worker: worker.render(message), [message]
            )

    def _convert(
        self, request: ChatRequest | GenerateRequest, extend: Extend, model: CatalogModel
    ) -> pb.GenerateRequest:
        return self._to_proto(CheckedRequest.of(request, model), extend)

    def _to_proto(self, checked: CheckedRequest, extend: Extend) -> pb.GenerateRequest:
        message = checked.to_proto(self.settings.max_output_tokens)
        extend(message)
        return message


def _whole(convert: Convert) -> Convert:
    """For a response that is not streamed: the engine may send all of it in one event."""

    def converted(model: CatalogModel) -> pb.GenerateRequest:
        request = convert(model)
        request.whole = True
        return request

    return converted


def _all_of(model: CatalogModel) -> Sequence[ServedModel]:
    """Return the served models behind a model. Raises NoWorkerReady where workers serve none."""
    served = workers_of(model)
    return [served] if model.virtual is None else model.virtual.served
