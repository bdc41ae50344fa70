"""POST /api/generate and /api/chat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core import conversion
from frontend.api.core.body import read_json
from frontend.api.core.options import Options, layered
from frontend.api.core.request import ChatRequest, GenerateRequest, InferenceRequest
from frontend.api.core.timestamps import Clock
from frontend.api.generation import Generation
from frontend.api.ollama.dialect import OllamaDialect
from frontend.api.ollama.encode import ChatShape, Encoder, GenerateShape, Shape
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.middleware.request_log import record_of
from frontend.models.model import CatalogModel


@dataclass(frozen=True, slots=True)
class Inference:
    """What generate and chat share, in upstream's order (ollama-contract.md, "Errors")."""

    generation: Generation
    clock: Clock = field(default_factory=Clock)

    async def chat(self, http: Request) -> Response:
        request = await read_json(http, self.generation.settings, ChatRequest.read)
        conversion.check_top_logprobs(request)
        if not request.model:
            raise InvalidRequest("model is required")
        return await self._answer(
            http,
            request,
            ChatShape(),
            is_empty=not request.messages,
            convert=lambda options, model: conversion.chat_to_proto(
                request, options, model, self.generation.most_tokens
            ),
        )

    async def generate(self, http: Request) -> Response:
        request = await read_json(http, self.generation.settings, GenerateRequest.read)
        conversion.check_top_logprobs(request)
        return await self._answer(
            http,
            request,
            GenerateShape(request.raw),
            is_empty=not request.prompt,
            convert=lambda options, model: conversion.generate_to_proto(
                request, options, model, self.generation.most_tokens
            ),
        )

    async def _answer(
        self,
        http: Request,
        request: InferenceRequest,
        shape: Shape,
        is_empty: bool,
        convert: Callable[[Options, CatalogModel], pb.GenerateRequest],
    ) -> Response:
        model = await self.generation.find(http, request.model)
        record = record_of(http.scope)
        encoder = Encoder(
            request.model,
            shape if model.route is None else shape.without_context(),
            record.received_ns,
            record.route_members,
            self.clock,
        )
        if is_empty and request.keep_alive == 0:
            await self.generation.unload(model)
            return Response(encoder.plain("unload"), media_type=JSON)
        if isinstance(request, GenerateRequest):
            conversion.check_raw(request)
            if request.template.strip() == model.template.strip():
                # What `show` prints, which may be Jinja, asks for nothing else.
                request.template = ""
        conversion.check_capabilities(request, model)
        options = Options.read(layered(model.parameters, request.options))
        route = conversion.route_of(request, model)
        if isinstance(request, GenerateRequest) and request.template:
            await conversion.check_template(request.template)
        if is_empty:
            await self.generation.load(http, model, request.keep_alive)
            return Response(encoder.plain("load"), media_type=JSON)

        def converted(side: CatalogModel) -> pb.GenerateRequest:
            conversion.check_capabilities(request, side)
            return convert(Options.read(layered(side.parameters, request.options)), side)

        if request.debug_render_only:
            rendered = await self.generation.render(http, model, converted, route)
            return Response(encoder.rendered(rendered.text), media_type=JSON)
        return await self.generation.answer(
            http,
            model,
            converted,
            OllamaDialect(encoder),
            request.stream,
            ignored=[*request.ignored, *options.not_honoured(model.info.context_length)],
            route=route,
        )


def router(generation: Generation) -> APIRouter:
    routes = direct_router()
    inference = Inference(generation)
    routes.add_api_route("/api/chat", inference.chat, methods=["POST"])
    routes.add_api_route("/api/generate", inference.generate, methods=["POST"])
    return routes
