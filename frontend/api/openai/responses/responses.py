"""POST /v1/responses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest
from frontend.api.core.request import ChatRequest
from frontend.api.generation import Generation
from frontend.api.openai.responses.compact import Compactions
from frontend.api.openai.responses.encode import ResponsesEncoder
from frontend.api.openai.responses.incoming import IncomingBodies
from frontend.api.openai.responses.output import OutputItems
from frontend.api.openai.responses.request import SESSION_HEADER, ResponsesRequest
from frontend.api.openai.responses.storing import ResponseStore, Storing
from frontend.api.response import EngineResponse
from frontend.http.routes import direct_router
from frontend.models.model import CatalogModel
from frontend.observability.request_record import record_of


@dataclass(frozen=True, slots=True)
class ResponsesRoutes:
    """`store` is None where nothing is stored."""

    generation: Generation
    bodies: IncomingBodies
    compactions: Compactions
    store: ResponseStore | None

    async def create(self, http: Request) -> Response:
        incoming = await self.bodies.read(http, ResponsesRequest.read)
        request = incoming.wanted
        chat = request.chat
        if request.compacts:
            return await self.compactions.stream(http, request)
        if not chat.model:
            raise InvalidRequest("model is required")
        model = await self.generation.find(http, chat.model)
        record = record_of(http.scope)
        extend = partial(request.extend, caller=record.client, session=http.headers.get(SESSION_HEADER, ""))
        built = await self.generation.build_request(http, model, chat, extend)
        ignored = [*request.ignored, *_unfulfilled(chat, model), *built.not_honoured]
        record.fields |= request.extras.log_fields
        priority = request.extras.priority
        if priority is not None and not self.generation.in_flight.prioritise(http.scope, priority):
            ignored.append("priority")
        output = OutputItems(request.tools.origins)
        if self.store is not None and request.is_stored:
            storing = Storing(self.store, self.generation, http, request, incoming.own_items, ignored)
            if request.background:
                return await storing.respond_in_background(built, output)
            return await storing.respond(built, output)
        encoder = ResponsesEncoder(request.echo, output, record.route_fields)
        return EngineResponse(
            encoder,
            self.generation.submit(http, built, chat.stream),
            chat.stream,
            self.generation.in_flight,
            ignored=[*ignored, *(["store"] if request.store else [])],
        )


def _unfulfilled(chat: ChatRequest, model: CatalogModel) -> list[str]:
    """Codex asks for an effort wherever it knows the model's name, and a refusal would end its session."""
    asks = chat.think is not None and chat.think.enabled
    return ["reasoning.effort"] if asks and not model.capabilities.thinking else []


def router(
    generation: Generation, bodies: IncomingBodies, compactions: Compactions, store: ResponseStore | None
) -> APIRouter:
    routes = direct_router()
    responses = ResponsesRoutes(generation, bodies, compactions, store)
    routes.add_api_route("/v1/responses", responses.create, methods=["POST"])
    return routes
