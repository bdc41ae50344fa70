"""POST /v1/responses/input_tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import CapabilityMissing, InvalidRequest
from frontend.api.core.go_json import dumps
from frontend.api.generation import Generation
from frontend.api.openai.responses.incoming import IncomingBodies
from frontend.api.openai.responses.request import ResponsesRequest
from frontend.api.wire import JSON, ignored_header
from frontend.http.routes import direct_router
from frontend.observability.request_record import record_of


@dataclass(frozen=True, slots=True)
class InputTokens:
    generation: Generation
    bodies: IncomingBodies

    async def count(self, http: Request) -> Response:
        """All tokens of the prompt, also those that would be cut off."""
        request = (await self.bodies.read(http, ResponsesRequest.read)).wanted
        chat = request.chat
        if not chat.model:
            raise InvalidRequest("model is required")
        model = await self.generation.find(http, chat.model)
        # No caches are used, so that no session need be named.
        extend = partial(request.extend, caller=record_of(http.scope).client, session="")
        built = await self.generation.build_request(http, model, chat, extend)
        rendered = await self.generation.render(http, built)
        if rendered.text and not rendered.ids:
            raise CapabilityMissing(f'"{chat.model}": the Ollama host that serves it does not count tokens')
        answer = {
            "object": "response.input_tokens",
            "input_tokens": len(rendered.ids) + rendered.truncated_tokens,
        }
        ignored = ignored_header([*request.ignored, *built.not_honoured])
        return Response(dumps(answer), media_type=JSON, headers=ignored)


def router(generation: Generation, bodies: IncomingBodies) -> APIRouter:
    routes = direct_router()
    input_tokens = InputTokens(generation, bodies)
    routes.add_api_route("/v1/responses/input_tokens", input_tokens.count, methods=["POST"])
    return routes
