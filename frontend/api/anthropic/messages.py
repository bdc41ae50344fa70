"""POST /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from frontend.api.anthropic.encode import MessagesEncoder
from frontend.api.anthropic.request import MessagesRequest
from frontend.api.core.body import read_v1_json
from frontend.api.core.go_json import dumps
from frontend.api.generation import Generation
from frontend.api.response import EngineResponse
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.observability.request_record import record_of


@dataclass(frozen=True, slots=True)
class MessagesRoutes:
    generation: Generation

    async def create(self, http: Request) -> Response:
        request = await read_v1_json(http, self.generation.settings, MessagesRequest.read)
        chat = request.chat
        model = await self.generation.find(http, chat.model)
        built = await self.generation.build_request(http, model, chat, request.set_tool_choice)
        encoder = MessagesEncoder(chat.model, request.stop_sequences, record_of(http.scope).route_fields)
        return EngineResponse(
            encoder,
            self.generation.submit(http, built, chat.stream),
            chat.stream,
            self.generation.in_flight,
            ignored=[*request.ignored, *built.not_honoured],
        )

    async def count_tokens(self, http: Request) -> Response:
        """All tokens of the prompt, also those that would be cut off."""
        request = await read_v1_json(http, self.generation.settings, MessagesRequest.read_to_count)
        model = await self.generation.find(http, request.chat.model)
        built = await self.generation.build_request(http, model, request.chat, request.set_tool_choice)
        rendered = await self.generation.render(http, built)
        tokens = len(rendered.ids) + rendered.truncated_tokens
        return Response(dumps({"input_tokens": tokens}), media_type=JSON)


def router(generation: Generation) -> APIRouter:
    routes = direct_router()
    messages = MessagesRoutes(generation)
    routes.add_api_route("/v1/messages", messages.create, methods=["POST"])
    routes.add_api_route("/v1/messages/count_tokens", messages.count_tokens, methods=["POST"])
    return routes
