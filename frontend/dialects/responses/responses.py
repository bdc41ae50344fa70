"""POST /v1/responses."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.catalog.model import CatalogModel
from frontend.dialects.generation import Generation
from frontend.dialects.ollama import to_proto
from frontend.dialects.ollama.options import Options, layered
from frontend.dialects.responses.dialect import ResponsesDialect
from frontend.dialects.responses.encode import Encoder
from frontend.dialects.responses.output import Output
from frontend.dialects.responses.wire import ResponsesRequest
from frontend.dialects.unseen import unseen, without_unseen
from frontend.dialects.v1_body import read_v1_json
from frontend.http.routes import direct_router
from frontend.telemetry.request_log import record_of


@dataclass(frozen=True, slots=True)
class Responses:
    generation: Generation

    async def create(self, http: Request) -> Response:
        request = await read_v1_json(http, self.generation.settings, ResponsesRequest.read)
        chat = request.chat
        if not chat.model:
            raise InvalidRequest("model is required")
        model = await self.generation.find(http, chat.model)
        to_proto.check_capabilities(chat, model)
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
            route=to_proto.route_of(chat, model),
        )

    def _convert(self, request: ResponsesRequest, model: CatalogModel) -> pb.GenerateRequest:
        """Raises CapabilityMissing."""
        chat = without_unseen(request.chat, model)
        to_proto.check_capabilities(chat, model)
        options = Options.read(layered(model.parameters, chat.options))
        converted = to_proto.chat_to_proto(chat, options, model, self.generation.most_tokens)
        converted.tool_choice.CopyFrom(request.tool_choice)
        return converted


def router(generation: Generation) -> APIRouter:
    routes = direct_router()
    responses = Responses(generation)
    routes.add_api_route("/v1/responses", responses.create, methods=["POST"])
    return routes
