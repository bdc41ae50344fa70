"""POST /api/embed and its predecessor /api/embeddings (ollama-contract.md, "Embeddings")."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import CapabilityMissing, ContextExceeded, DroverError, InvalidRequest, ModelNotFound
from drover.v1 import engine_pb2 as pb
from frontend.api.core.body import read_json
from frontend.api.core.embedding import (
    EmbeddingsRequest,
    EmbedRequest,
    embed_to_proto,
    embeddings_to_proto,
    older_vector,
    vector,
)
from frontend.api.core.go_json import dumps_text
from frontend.api.core.options import Options, layered
from frontend.api.embeddings import EMBED_STATUSES, Embeddings, Statuses, with_statuses
from frontend.api.ollama.errors import error_response
from frontend.api.wire import JSON
from frontend.http.routes import direct_router
from frontend.observability.request_record import record_of

# The older route answers 500 for every request that the engine refuses.
EMBEDDINGS_STATUSES: Statuses = {CapabilityMissing: 500, ContextExceeded: 500}


@dataclass(frozen=True, slots=True)
class EmbedRoutes:
    service: Embeddings

    async def embed(self, http: Request) -> Response:
        return await with_statuses(self._embed(http), EMBED_STATUSES, http, _respond)

    async def embeddings(self, http: Request) -> Response:
        return await with_statuses(self._embeddings(http), EMBEDDINGS_STATUSES, http, _respond)

    async def _embed(self, http: Request) -> Response:
        request = await read_json(http, self.service.settings, EmbedRequest.read)
        if not request.model:
            raise ModelNotFound("model '' not found")
        model = await self.service.find(http, request.model)
        options = Options.read(layered(model.parameters, request.options))
        if not request.input:
            await self.service.load(http, model, request.keep_alive)
            return Response(nothing_embedded(request.model), media_type=JSON)
        record = record_of(http.scope)
        return await self.service.answer(
            http,
            model,
            embed_to_proto(request, options, model),
            lambda response, vectors: embed_body(request.model, response, vectors, record.elapsed_ns),
            vector,
            [*request.ignored, *options.not_honoured(model.info.context_length)],
        )

    async def _embeddings(self, http: Request) -> Response:
        request = await read_json(http, self.service.settings, EmbeddingsRequest.read)
        if not request.model:
            raise InvalidRequest("model is required")
        model = await self.service.find(http, request.model)
        options = Options.read(layered(model.parameters, request.options))
        if not request.prompt:
            await self.service.load(http, model, request.keep_alive)
            return Response(b'{"embedding":[]}', media_type=JSON)
        return await self.service.answer(
            http,
            model,
            embeddings_to_proto(request, options, model),
            embeddings_body,
            older_vector,
            [*request.ignored, *options.not_honoured(model.info.context_length)],
        )


def embed_body(model: str, response: pb.EmbedResponse, vectors: Sequence[bytes], total_ns: int) -> bytes:
    """The body of /api/embed. `vectors`: encoded by `vector`; `total_ns`: since the request was received."""
    return b'{"model":%b,"embeddings":[%b]%b}' % (
        dumps_text(model),
        b",".join(vectors),
        _metrics(response, total_ns),
    )


def embeddings_body(response: pb.EmbedResponse, vectors: Sequence[bytes]) -> bytes:
    return b'{"embedding":%b}' % vectors[0]


def nothing_embedded(model: str) -> bytes:
    """The response to a request without texts, which only loads the model."""
    return b'{"model":%b,"embeddings":[]}' % dumps_text(model)


def _metrics(response: pb.EmbedResponse, total_ns: int) -> bytes:
    """Go omits zeros: a measured zero is written as one nanosecond."""
    timings = response.timings
    waited_ns = min(timings.queue_ns + timings.load_ns, total_ns - timings.prefill_ns)
    metrics = b',"total_duration":%d,"load_duration":%d' % (max(1, total_ns), max(1, waited_ns))
    if response.prompt_tokens:
        metrics += b',"prompt_eval_count":%d' % response.prompt_tokens
    return metrics


def _respond(error: DroverError, status: int) -> Response:
    return error_response(error, status=status)


def router(embeddings: Embeddings) -> APIRouter:
    routes = direct_router()
    handlers = EmbedRoutes(embeddings)
    routes.add_api_route("/api/embed", handlers.embed, methods=["POST"])
    routes.add_api_route("/api/embeddings", handlers.embeddings, methods=["POST"])
    return routes
