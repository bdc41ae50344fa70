"""POST /api/generate and /api/chat."""

from __future__ import annotations

from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest
from frontend.api.core import conversion
from frontend.api.core.body import read_json
from frontend.api.core.go_values import Clock
from frontend.api.core.request import ChatRequest, GenerateRequest
from frontend.api.generation import Generation
from frontend.api.ollama.encode import ChatShape, GenerateShape, OllamaEncoder, Shape
from frontend.api.response import EngineResponse
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.observability.request_record import record_of


@dataclass(frozen=True, slots=True)
class Inference:
    """The steps of generate and chat, in upstream's order (ollama-contract.md, "Errors")."""

    generation: Generation
    clock: Clock = field(default_factory=Clock)

    async def chat(self, http: Request) -> Response:
        request = await read_json(http, self.generation.settings, ChatRequest.read)
        conversion.check_top_logprobs(request)
        if not request.model:
            raise InvalidRequest("model is required")
        return await self._answer(http, request, ChatShape(), is_empty=not request.messages)

    async def generate(self, http: Request) -> Response:
        request = await read_json(http, self.generation.settings, GenerateRequest.read)
        conversion.check_top_logprobs(request)
        return await self._answer(http, request, GenerateShape(request.raw), is_empty=not request.prompt)

    async def _answer(
        self, http: Request, request: ChatRequest | GenerateRequest, shape: Shape, is_empty: bool
    ) -> Response:
        model = await self.generation.find(http, request.model)
        record = record_of(http.scope)
        encoder = OllamaEncoder(
            request.model,
            shape if model.virtual is None else shape.without_context(),
            record.received_ns,
            record.route_fields,
            self.clock,
        )
        if is_empty and request.keep_alive == 0:
            await self.generation.unload(model)
            return Response(encoder.plain("unload"), media_type=JSON)
        if isinstance(request, GenerateRequest):
            conversion.check_raw(request)
            if request.template.strip() == model.template.strip():
                # Clients send back the template that `show` prints, which may be Jinja.
                request.template = ""
        if is_empty:
            await self.generation.check(model, request)
            await self.generation.load(http, model, request.keep_alive)
            return Response(encoder.plain("load"), media_type=JSON)
        built = await self.generation.build_request(http, model, request)
        if request.debug_render_only:
            rendered = await self.generation.render(http, built)
            return Response(encoder.rendered(rendered.text), media_type=JSON)
        return EngineResponse(
            encoder,
            self.generation.submit(http, built, request.stream),
            request.stream,
            self.generation.in_flight,
            ignored=[*request.ignored, *built.not_honoured],
        )


def router(generation: Generation) -> APIRouter:
    routes = direct_router()
    inference = Inference(generation)
    routes.add_api_route("/api/chat", inference.chat, methods=["POST"])
    routes.add_api_route("/api/generate", inference.generate, methods=["POST"])
    return routes
