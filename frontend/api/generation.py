"""The steps that all dialects' generating routes share, in upstream's order.

Contract: ollama-contract.md, "Errors".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from fastapi import Request

from drover.concurrency import run_in_thread_if_large
from drover.errors import ModelNotFound
from drover.v1 import engine_pb2 as pb
from frontend.api.core.body import INLINE_BYTES
from frontend.api.core.conversion import load_to_proto
from frontend.api.core.name_resolution import find_named
from frontend.api.in_flight import InFlightRequests
from frontend.api.response import Dialect, EngineResponse
from frontend.middleware.held_bodies import held_body_of
from frontend.middleware.request_log import record_of
from frontend.models.catalog import Catalog
from frontend.models.model import CatalogModel, workers_of
from frontend.models.virtual_definition import Side, requested_side
from frontend.observability.failovers import RecordedMoves
from frontend.routing.backends.base import RequestHandle
from frontend.routing.fleet import any_of
from frontend.routing.served_model import ServedModel
from frontend.settings import FrontendSettings
from frontend.smart_router.router import RequestRouter
from frontend.smart_router.sides import Convert

_ROUTE_HEADER = "x-drover-route"


@dataclass(frozen=True, slots=True)
class Generation:
    catalog: Catalog
    settings: FrontendSettings
    answers: InFlightRequests
    router: RequestRouter

    @property
    def most_tokens(self) -> int:
        """Of an answer; 0 is no limit."""
        return self.settings.max_output_tokens

    async def find(self, http: Request, text: str) -> CatalogModel:
        """One that workers serve; the request's record then knows it. Raises InvalidRequest for what is no
        name, ModelNotFound with the name as it was sent, NotOffered for ollama.com's models.
        """
        record = record_of(http.scope)
        record.fields["model"] = text
        model = await find_named(self.catalog, text) if text else None
        if model is None:
            raise ModelNotFound(f"model '{text}' not found")
        served = workers_of(model)
        # A virtual model's request is served by the side that it goes to, under that one's name.
        record.served = served.info.names[0] if model.route is None else ""
        return model

    def hold(self, http: Request) -> AbstractAsyncContextManager[None]:
        """Around work for an answer that is not an EngineResponse."""
        return self.answers.hold(http.scope, http.receive)

    async def load(self, http: Request, model: CatalogModel, keep_alive_ns: int | None) -> None:
        async with self.hold(http):
            request = load_to_proto(keep_alive_ns)
            await any_of(self.catalog.fleet.load(served, request) for served in _all_of(model))

    async def unload(self, model: CatalogModel) -> None:
        await any_of(self.catalog.fleet.unload(served) for served in _all_of(model))

    async def render(
        self, http: Request, model: CatalogModel, convert: Convert, route: str = ""
    ) -> pb.RenderResponse:
        """`convert`, `route`: as in `answer`."""
        wish = _wish(http, model, route)
        async with self.hold(http):
            if model.route is not None:
                routed = self.router.request(model.route, convert, wish, record_of(http.scope))
                model, request = await routed.chosen()
            else:
                request = await _converted(http, model, convert)
            return await self.catalog.fleet.ask(
                workers_of(model), lambda worker: worker.render(request), [request]
            )

    async def answer(
        self,
        http: Request,
        model: CatalogModel,
        convert: Convert,
        dialect: Dialect,
        stream: bool,
        ignored: Sequence[str] = (),
        route: str = "",
    ) -> EngineResponse:
        """`convert`: the request for a model that workers serve; a virtual model's is made for its side.
        `ignored`: names of what the request set and nobody honours. `route`: the side that the body asks for.
        """
        return EngineResponse(
            dialect,
            submit=await self.prepared(http, model, convert, stream, route),
            stream=stream,
            answers=self.answers,
            ignored=ignored,
        )

    async def prepared(
        self, http: Request, model: CatalogModel, convert: Convert, stream: bool, route: str = ""
    ) -> Callable[[], RequestHandle]:
        """Sends it, each time it is called. Raises what `convert` raises, InvalidRequest for a route that is
        none.
        """
        record = record_of(http.scope)
        convert = convert if stream else _whole(convert)
        if (virtual := model.route) is not None:
            wish = _wish(http, model, route)
            return lambda: self.router.request(virtual, convert, wish, record)
        request, served = await _converted(http, model, convert), workers_of(model)
        return lambda: self.catalog.fleet.submit(served, request, record.ticket, RecordedMoves(record))


def _whole(convert: Convert) -> Convert:
    """Of an answer that is not streamed."""

    def converted(model: CatalogModel) -> pb.GenerateRequest:
        request = convert(model)
        request.whole = True
        return request

    return converted


async def _converted(http: Request, model: CatalogModel, convert: Convert) -> pb.GenerateRequest:
    """In a thread where the body was long: texts are copied, and thousands of messages take tens of
    milliseconds.
    """
    return await run_in_thread_if_large(lambda: convert(model), held_body_of(http.scope).length, INLINE_BYTES)


def _wish(http: Request, model: CatalogModel, route: str) -> Side | None:
    """The body's goes before the header's. Only virtual models know of sides."""
    return None if model.route is None else requested_side(route or http.headers.get(_ROUTE_HEADER, ""))


def _all_of(model: CatalogModel) -> Sequence[ServedModel]:
    """Raises NoWorkerReady where nobody serves any."""
    served = workers_of(model)
    return [served] if model.route is None else model.route.served
