"""POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.v1 import engine_pb2 as pb
from frontend.catalog.model import CatalogModel
from frontend.dialects.anthropic.dialect import AnthropicDialect
from frontend.dialects.anthropic.encode import Encoder
from frontend.dialects.anthropic.wire import MessagesRequest
from frontend.dialects.generation import Generation
from frontend.dialects.ollama import to_proto
from frontend.dialects.ollama.dialect import JSON
from frontend.dialects.ollama.go_json import dumps
from frontend.dialects.ollama.options import Options, layered
from frontend.dialects.ollama.wire import ChatRequest
from frontend.dialects.unseen import unseen, without_unseen
from frontend.dialects.v1_body import read_v1_json
from frontend.http.routes import direct_router
from frontend.telemetry.request_log import record_of


@dataclass(frozen=True, slots=True)
class Messages:
    generation: Generation

    async def create(self, http: Request) -> Response:
        request = await read_v1_json(http, self.generation.settings, MessagesRequest.read)
        model = await self.generation.find(http, request.chat.model)
        _check(request, model)
        options = Options.read(layered(model.parameters, request.chat.options))
        encoder = Encoder(request.chat.model, request.stop_sequences, record_of(http.scope).route_members)
        return await self.generation.answer(
            http,
            model,
            partial(self._convert, request),
            AnthropicDialect(encoder),
            request.chat.stream,
            ignored=[
                *request.ignored,
                *unseen(request.chat, model),
                *options.not_honoured(model.info.context_length),
            ],
            route=to_proto.route_of(request.chat, model),
        )

    async def count_tokens(self, http: Request) -> Response:
        """All tokens of the prompt, also those that would be cut off."""
        request = await read_v1_json(http, self.generation.settings, MessagesRequest.read_to_count)
        model = await self.generation.find(http, request.chat.model)
        route = to_proto.route_of(request.chat, model)
        rendered = await self.generation.render(http, model, partial(self._convert, request), route)
        tokens = len(rendered.ids) + rendered.truncated_tokens
        return Response(dumps({"input_tokens": tokens}), media_type=JSON)

    def _convert(self, request: MessagesRequest, model: CatalogModel) -> pb.GenerateRequest:
        """Raises CapabilityMissing."""
        chat = _check(request, model)
        options = Options.read(layered(model.parameters, chat.options))
        converted = to_proto.chat_to_proto(chat, options, model, self.generation.most_tokens)
        converted.tool_choice.CopyFrom(request.tool_choice)
        return converted


def _check(request: MessagesRequest, model: CatalogModel) -> ChatRequest:
    """The chat as the model can have it: to think is no demand where it cannot. Raises CapabilityMissing."""
    chat = without_unseen(request.chat, model)
    chat = chat if model.capabilities.thinking else replace(chat, think=None)
    to_proto.check_capabilities(chat, model)
    return chat


def router(generation: Generation) -> APIRouter:
    routes = direct_router()
    messages = Messages(generation)
    routes.add_api_route("/v1/messages", messages.create, methods=["POST"])
    routes.add_api_route("/v1/messages/count_tokens", messages.count_tokens, methods=["POST"])
    return routes
