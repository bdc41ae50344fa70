"""POST /api/generate and /api/chat."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import InvalidRequest, ModelNotFound
from drover.v1 import engine_pb2 as pb
from frontend.catalog.catalog import Catalog
from frontend.catalog.model import CatalogModel, workers_of
from frontend.catalog.served import ServedModel
from frontend.dialects.answer import EngineAnswer
from frontend.dialects.ollama import to_proto
from frontend.dialects.ollama.body import read_json
from frontend.dialects.ollama.dialect import JSON, OllamaDialect
from frontend.dialects.ollama.encode import ChatShape, Encoder, GenerateShape, Shape
from frontend.dialects.ollama.options import Options, layered
from frontend.dialects.ollama.sources import find_named
from frontend.dialects.ollama.wire import ChatRequest, GenerateRequest, InferenceRequest
from frontend.dialects.open_answers import OpenAnswers
from frontend.fleet.base import RequestHandle
from frontend.fleet.fleet import Fleet
from frontend.settings import FrontendSettings
from frontend.telemetry.moves import RecordedMoves
from frontend.telemetry.request_log import RequestRecord, record_of


@dataclass(frozen=True, slots=True)
class Inference:
    """The steps that generate and chat share, in upstream's order (ollama-api.md section 2.11)."""

    catalog: Catalog
    settings: FrontendSettings
    answers: OpenAnswers

    @property
    def _fleet(self) -> Fleet:
        return self.catalog.fleet

    @property
    def _most_tokens(self) -> int:
        return self.settings.max_output_tokens

    async def chat(self, http: Request) -> Response:
        request = await read_json(http, self.settings, ChatRequest.read)
        to_proto.check_top_logprobs(request)
        if not request.model:
            raise InvalidRequest("model is required")
        return await self._answer(
            http,
            request,
            ChatShape(),
            is_empty=not request.messages,
            convert=lambda options, model: to_proto.chat_to_proto(request, options, model, self._most_tokens),
        )

    async def generate(self, http: Request) -> Response:
        request = await read_json(http, self.settings, GenerateRequest.read)
        to_proto.check_top_logprobs(request)
        return await self._answer(
            http,
            request,
            GenerateShape(request.raw),
            is_empty=not request.prompt,
            convert=lambda options, model: to_proto.generate_to_proto(
                request, options, model, self._most_tokens
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
        record = record_of(http.scope)
        record.fields["model"] = request.model
        model = await self._find(request.model)
        served = workers_of(model)
        record.served = served.info.names[0]
        encoder = Encoder(request.model, shape, record.received_ns)
        if is_empty and request.keep_alive == 0:
            await self._fleet.unload(served)
            return Response(encoder.plain("unload"), media_type=JSON)
        if isinstance(request, GenerateRequest):
            to_proto.check_raw(request)
        to_proto.check_capabilities(request, model)
        options = Options.read(layered(model.parameters, request.options))
        if isinstance(request, GenerateRequest) and request.template:
            await to_proto.check_template(request.template)
        if is_empty:
            async with self.answers.hold(http.scope, http.receive):
                await self._fleet.load(served, to_proto.load_to_proto(request.keep_alive))
            return Response(encoder.plain("load"), media_type=JSON)
        converted = convert(options, model)
        if request.debug_render_only:
            async with self.answers.hold(http.scope, http.receive):
                with self._fleet.visit(served) as worker:
                    rendered = await worker.render(converted)
            return Response(encoder.rendered(rendered.text), media_type=JSON)
        return EngineAnswer(
            OllamaDialect(encoder),
            submit=lambda: self._submit(served, converted, record),
            stream=request.stream,
            answers=self.answers,
            ignored=options.not_honoured(model.info.context_length),
        )

    async def _find(self, text: str) -> CatalogModel:
        """Raises InvalidRequest for what is no name, ModelNotFound with the name as it was sent, NotOffered
        for ollama.com's models.
        """
        if text and (model := await find_named(self.catalog, text)) is not None:
            return model
        raise ModelNotFound(f"model '{text}' not found")

    def _submit(
        self, model: ServedModel, request: pb.GenerateRequest, record: RequestRecord
    ) -> RequestHandle:
        return self._fleet.submit(model, request, record.ticket, RecordedMoves(record))


def router(catalog: Catalog, settings: FrontendSettings, answers: OpenAnswers) -> APIRouter:
    routes = APIRouter()
    inference = Inference(catalog, settings, answers)
    routes.add_api_route("/api/chat", inference.chat, methods=["POST"])
    routes.add_api_route("/api/generate", inference.generate, methods=["POST"])
    return routes
