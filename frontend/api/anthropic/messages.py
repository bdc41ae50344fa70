"""POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.v1 import engine_pb2 as pb
from frontend.api.anthropic.dialect import AnthropicDialect
from frontend.api.anthropic.encode import Encoder
from frontend.api.anthropic.wire import MessagesRequest
from frontend.api.core import conversion
from frontend.api.core.body import read_v1_json
from frontend.api.core.go_json import dumps
from frontend.api.core.options import Options, layered
from frontend.api.core.request import ChatRequest
from frontend.api.core.unseen_images import unseen, without_unseen
from frontend.api.generation import Generation
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.middleware.request_log import record_of
from frontend.models.model import CatalogModel


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
            route=conversion.route_of(request.chat, model),
        )

    async def count_tokens(self, http: Request) -> Response:
        """All tokens of the prompt, also those that would be cut off."""
        request = await read_v1_json(http, self.generation.settings, MessagesRequest.read_to_count)
        model = await self.generation.find(http, request.chat.model)
        route = conversion.route_of(request.chat, model)
        rendered = await self.generation.render(http, model, partial(self._convert, request), route)
        tokens = len(rendered.ids) + rendered.truncated_tokens
        return Response(dumps({"input_tokens": tokens}), media_type=JSON)

    def _convert(self, request: MessagesRequest, model: CatalogModel) -> pb.GenerateRequest:
        """Raises CapabilityMissing."""
        chat = _check(request, model)
        options = Options.read(layered(model.parameters, chat.options))
        converted = conversion.chat_to_proto(chat, options, model, self.generation.most_tokens)
        converted.tool_choice.CopyFrom(request.tool_choice)
        return converted


def _check(request: MessagesRequest, model: CatalogModel) -> ChatRequest:
    """The chat as the model can have it: to think is no demand where it cannot. Raises CapabilityMissing."""
    chat = without_unseen(request.chat, model)
    chat = chat if model.capabilities.thinking else replace(chat, think=None)
    conversion.check_capabilities(chat, model)
    return chat


def router(generation: Generation) -> APIRouter:
    routes = direct_router()
    messages = Messages(generation)
    routes.add_api_route("/v1/messages", messages.create, methods=["POST"])
    routes.add_api_route("/v1/messages/count_tokens", messages.count_tokens, methods=["POST"])
    return routes
