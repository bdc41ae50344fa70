"""POST /v1/responses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core import conversion
from frontend.api.core.body import read_v1_json
from frontend.api.core.options import Options, layered
from frontend.api.core.unseen_images import unseen, without_unseen
from frontend.api.generation import Generation
from frontend.api.openai.responses.dialect import ResponsesDialect
from frontend.api.openai.responses.encode import Encoder
from frontend.api.openai.responses.output import Output
from frontend.api.openai.responses.wire import ResponsesRequest
from frontend.http.routes import direct_router
from frontend.middleware.request_log import record_of
from frontend.models.model import CatalogModel


@dataclass(frozen=True, slots=True)
class Responses:
    generation: Generation

    async def create(self, http: Request) -> Response:
        request = await read_v1_json(http, self.generation.settings, ResponsesRequest.read)
        chat = request.chat
        if not chat.model:
            raise InvalidRequest("model is required")
        model = await self.generation.find(http, chat.model)
        conversion.check_capabilities(chat, model)
        options = Options.read(layered(model.parameters, chat.options))
        beside = record_of(http.scope).route_members
        encoder = Encoder(request.echo, Output(request.tools.namespaces), beside)
        return await self.generation.answer(
            http,
            model,
            partial(self._convert, request),
            ResponsesDialect(encoder),
            chat.stream,
            ignored=[
                *request.ignored,
                *unseen(chat, model),
                *options.not_honoured(model.info.context_length),
            ],
            route=conversion.route_of(chat, model),
        )

    def _convert(self, request: ResponsesRequest, model: CatalogModel) -> pb.GenerateRequest:
        """Raises CapabilityMissing."""
        chat = without_unseen(request.chat, model)
        conversion.check_capabilities(chat, model)
        options = Options.read(layered(model.parameters, chat.options))
        converted = conversion.chat_to_proto(chat, options, model, self.generation.most_tokens)
        converted.tool_choice.CopyFrom(request.tool_choice)
        return converted


def router(generation: Generation) -> APIRouter:
    routes = direct_router()
    responses = Responses(generation)
    routes.add_api_route("/v1/responses", responses.create, methods=["POST"])
    return routes
