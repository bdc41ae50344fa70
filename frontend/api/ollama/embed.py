"""POST /api/embed and its predecessor /api/embeddings (ollama-contract.md, "Embeddings")."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from drover.errors import (
    CapabilityMissing,
    ContextExceeded,
    DroverError,
    EngineFailed,
    InvalidRequest,
    ModelNotFound,
)
from drover.v1 import engine_pb2 as pb
from frontend.api.core.body import read_json
from frontend.api.core.conversion import load_to_proto
from frontend.api.core.name_resolution import find_named
from frontend.api.core.options import Options, layered
from frontend.api.in_flight import InFlightRequests
from frontend.api.ollama.embed_bodies import (
    EmbeddingsRequest,
    EmbedRequest,
    embed_body,
    embed_to_proto,
    embeddings_body,
    embeddings_to_proto,
    nothing_embedded,
    older_vector,
    vector,
)
from frontend.api.ollama.errors import error_response
from frontend.api.wire import JSON, DiagnosticHeaders
from frontend.http.routes import direct_router
from frontend.models.catalog import Catalog
from frontend.models.model import CatalogModel, workers_of
from frontend.observability.request_observer import RecordingObserver
from frontend.observability.request_record import record_of
from frontend.routing.fleet import can_embed
from frontend.settings import FrontendSettings

Statuses = Mapping[type[DroverError], int]

# What an engine says that was started to generate, as Ollama passes it on (recorded as "embed").
_NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"
# Where these routes differ from the table of errors: one blames the request for a failing engine, and the
# other one the engine for every request that it refuses.
EMBED_STATUSES: Statuses = {CapabilityMissing: 501, EngineFailed: 400}
EMBEDDINGS_STATUSES: Statuses = {CapabilityMissing: 500, ContextExceeded: 500}
# Writing so many takes some milliseconds; then it is others' turn.
_NUMBERS_AT_ONCE = 2_000

Body = Callable[[pb.EmbedResponse, Sequence[bytes]], bytes]


@dataclass(frozen=True, slots=True)
class Embeddings:
    catalog: Catalog
    settings: FrontendSettings
    in_flight: InFlightRequests

    async def embed(self, http: Request) -> Response:
        return await with_statuses(self._embed(http), EMBED_STATUSES, http)

    async def embeddings(self, http: Request) -> Response:
        return await with_statuses(self._embeddings(http), EMBEDDINGS_STATUSES, http)

    async def _embed(self, http: Request) -> Response:
        request = await read_json(http, self.settings, EmbedRequest.read)
        if not request.model:
            raise ModelNotFound("model '' not found")
        model = await self.find(http, request.model)
        options = Options.read(layered(model.parameters, request.options))
        if not request.input:
            return await self._load(http, model, request.keep_alive, nothing_embedded(request.model))
        record = record_of(http.scope)
        return await self.answer(
            http,
            model,
            embed_to_proto(request, options, model),
            lambda response, vectors: embed_body(request.model, response, vectors, record.elapsed_ns),
            vector,
            [*request.ignored, *options.not_honoured(model.info.context_length)],
        )

    async def _embeddings(self, http: Request) -> Response:
        request = await read_json(http, self.settings, EmbeddingsRequest.read)
        if not request.model:
            raise InvalidRequest("model is required")
        model = await self.find(http, request.model)
        options = Options.read(layered(model.parameters, request.options))
        if not request.prompt:
            return await self._load(http, model, request.keep_alive, b'{"embedding":[]}')
        return await self.answer(
            http,
            model,
            embeddings_to_proto(request, options, model),
            embeddings_body,
            older_vector,
            [*request.ignored, *options.not_honoured(model.info.context_length)],
        )

    async def find(self, http: Request, text: str) -> CatalogModel:
        """One that workers serve. Raises ModelNotFound, NoWorkerReady and what `find_named` raises."""
        record_of(http.scope).fields["model"] = text
        model = await find_named(self.catalog, text, can_embed)
        if model is None:
            raise ModelNotFound(f'model "{text}" not found, try pulling it first')
        record_of(http.scope).served = workers_of(model).info.names[0]
        return model

    async def _load(
        self, http: Request, model: CatalogModel, keep_alive_ns: int | None, body: bytes
    ) -> Response:
        async with self.in_flight.track(http.scope, http.receive):
            await self.catalog.fleet.load(workers_of(model), load_to_proto(keep_alive_ns))
        return Response(body, media_type=JSON)

    async def answer(
        self,
        http: Request,
        model: CatalogModel,
        request: pb.EmbedRequest,
        body: Body,
        write: Callable[[pb.Embedding], bytes],
        ignored: Sequence[str],
    ) -> Response:
        """`write`: one vector as the route writes it. `ignored`: fields of the request without effect."""
        if not model.info.capabilities.embedding:
            raise CapabilityMissing(_NO_EMBEDDINGS)
        record = record_of(http.scope)
        async with self.in_flight.track(http.scope, http.receive):
            response = await self.catalog.fleet.embed(
                workers_of(model), request, record.ticket, RecordingObserver(record)
            )
            notices = DiagnosticHeaders.of(pb.Started(truncated_tokens=response.truncated_tokens), ignored)
            record.record_embeddings(response, notices.not_honoured)
            both = [*notices.headers(), *record.queue_headers()]
            headers = {name.decode(): value.decode() for name, value in both}
            return Response(await _written(response, body, write), media_type=JSON, headers=headers)


async def _written(response: pb.EmbedResponse, body: Body, write: Callable[[pb.Embedding], bytes]) -> bytes:
    """In slices, between which others run and the request can end."""
    vectors: list[bytes] = []
    numbers = 0
    for embedding in response.embeddings:
        vectors.append(write(embedding))
        numbers += len(embedding.values)
        if numbers > _NUMBERS_AT_ONCE:
            numbers = 0
            await asyncio.sleep(0)
    return body(response, vectors)


def _worded(error: DroverError, status: int) -> Response:
    return error_response(error, status=status)


async def with_statuses(
    answer: Awaitable[Response],
    statuses: Statuses,
    http: Request,
    worded: Callable[[DroverError, int], Response] = _worded,
) -> Response:
    try:
        return await answer
    except DroverError as error:
        if type(error) not in statuses:
            raise
        record_of(http.scope).record_error(error)
        return worded(error, statuses[type(error)])


def router(embeddings: Embeddings) -> APIRouter:
    routes = direct_router()
    routes.add_api_route("/api/embed", embeddings.embed, methods=["POST"])
    routes.add_api_route("/api/embeddings", embeddings.embeddings, methods=["POST"])
    return routes
