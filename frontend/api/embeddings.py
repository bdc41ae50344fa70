"""The steps of all embedding routes: find the model, ask a worker, write the vectors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from drover.errors import CapabilityMissing, DroverError, EngineFailed, ModelNotFound
from drover.v1 import engine_pb2 as pb
from frontend.api.core.keep_alive import load_to_proto
from frontend.api.core.name_resolution import find_named
from frontend.api.in_flight import InFlightRequests
from frontend.api.wire import JSON, DiagnosticHeaders
from frontend.models.catalog import Catalog
from frontend.models.model import CatalogModel, workers_of
from frontend.observability.request_record import RecordingObserver, record_of
from frontend.routing.fleet import can_embed
from frontend.settings import FrontendSettings

Statuses = Mapping[type[DroverError], int]
"""HTTP statuses of a route where they differ from those of `drover/errors.py`."""

# llama-server's error of a model that generates, as Ollama passes it on (recorded as "embed").
_NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"
# As upstream, /api/embed and /v1/embeddings answer 400 for a failed engine.
EMBED_STATUSES: Statuses = {CapabilityMissing: 501, EngineFailed: 400}
# Encoding so many takes some milliseconds; then other tasks run.
_NUMBERS_AT_ONCE = 2_000

Body = Callable[[pb.EmbedResponse, Sequence[bytes]], bytes]


@dataclass(frozen=True, slots=True)
class Embeddings:
    catalog: Catalog
    settings: FrontendSettings
    in_flight: InFlightRequests

    async def find(self, http: Request, text: str) -> CatalogModel:
        """Find a model that workers serve. Raises ModelNotFound, NoWorkerReady and as `find_named`."""
        record = record_of(http.scope)
        record.fields["model"] = text
        model = await find_named(self.catalog, text, can_embed)
        if model is None:
            raise ModelNotFound(f'model "{text}" not found, try pulling it first')
        record.model = model.name.short
        record.served = workers_of(model).info.names[0]
        return model

    async def load(self, http: Request, model: CatalogModel, keep_alive_ns: int | None) -> None:
        async with self.in_flight.track(http.scope, http.receive):
            observer = RecordingObserver(record_of(http.scope))
            await self.catalog.fleet.load(workers_of(model), load_to_proto(keep_alive_ns), observer)

    async def answer(
        self,
        http: Request,
        model: CatalogModel,
        request: pb.EmbedRequest,
        body: Body,
        write: Callable[[pb.Embedding], bytes],
        ignored: Sequence[str],
    ) -> Response:
        """Embed texts and respond. `write`: encodes a vector; `ignored`: names of fields without effect."""
        if not model.info.capabilities.embedding:
            raise CapabilityMissing(_NO_EMBEDDINGS)
        record = record_of(http.scope)
        async with self.in_flight.track(http.scope, http.receive):
            response = await self.catalog.fleet.embed(
                workers_of(model), request, record.ticket, RecordingObserver(record)
            )
            started = pb.Started(truncated_tokens=response.truncated_tokens)
            diagnostics = DiagnosticHeaders.of(started, ignored)
            record.record_results(
                "embeddings",
                len(response.embeddings),
                response,
                response.truncated_tokens,
                diagnostics.not_honoured,
            )
            both = [*diagnostics.headers(), *record.queue_headers()]
            headers = {name.decode(): value.decode() for name, value in both}
            return Response(await _written(response, body, write), media_type=JSON, headers=headers)


async def _written(response: pb.EmbedResponse, body: Body, write: Callable[[pb.Embedding], bytes]) -> bytes:
    """Encode in slices, between which other tasks run and the request can be cancelled."""
    vectors: list[bytes] = []
    numbers = 0
    for embedding in response.embeddings:
        vectors.append(write(embedding))
        numbers += len(embedding.values)
        if numbers > _NUMBERS_AT_ONCE:
            numbers = 0
            await asyncio.sleep(0)
    return body(response, vectors)


async def with_statuses(
    answer: Awaitable[Response],
    statuses: Statuses,
    http: Request,
    respond: Callable[[DroverError, int], Response],
) -> Response:
    """Await the response, or `respond` to an error for which the route has a status of its own."""
    try:
        return await answer
    except DroverError as error:
        if type(error) not in statuses:
            raise
        record_of(http.scope).record_error(error)
        return respond(error, statuses[type(error)])
