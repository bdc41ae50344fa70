"""The steps of rerank, score and classify: find the model, ask a worker, describe the outcome."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from drover.concurrency import run_in_thread_if_large
from drover.errors import CapabilityMissing, InvalidRequest, ModelNotFound, NoWorkerReady
from drover.v1 import engine_pb2 as pb
from frontend.api.core.body import INLINE_BYTES
from frontend.api.core.go_json import dumps
from frontend.api.core.name_resolution import find_named
from frontend.api.in_flight import InFlightRequests
from frontend.api.wire import JSON, DiagnosticHeaders
from frontend.middleware.held_bodies import held_body_of
from frontend.models.catalog import Catalog
from frontend.models.model import CatalogModel, workers_of
from frontend.observability.request_record import RecordingObserver, record_of
from frontend.routing.fleet import CapabilityCheck, can_classify, can_generate, can_rerank
from frontend.routing.served_model import ServedModel
from frontend.settings import FrontendSettings

Results = pb.ScoreResponse | pb.RerankResponse | pb.ClassifyResponse


@dataclass(frozen=True, slots=True)
class Ability:
    """What a model must be able to do. `task`: the worker's --task for it."""

    capable: CapabilityCheck
    task: str


RERANK = Ability(can_rerank, "rerank")
CLASSIFY = Ability(can_classify, "classify")
LABELS = Ability(can_generate, "generate")


@dataclass(frozen=True, slots=True)
class Scoring:
    catalog: Catalog
    settings: FrontendSettings
    in_flight: InFlightRequests

    async def find(self, http: Request, text: str, ability: Ability) -> CatalogModel:
        """Find the model of a name; without a name the only one that is able.

        Raises ModelNotFound, NoWorkerReady, CapabilityMissing, InvalidRequest for no name where several
        models are able, and as `find_named`.
        """
        record = record_of(http.scope)
        record.fields["model"] = text
        model = await find_named(self.catalog, text, ability.capable) if text else self._only(ability)
        if model is None:
            raise ModelNotFound(f"model '{text}' not found")
        record.model = model.name.short
        record.served = workers_of(model).info.names[0]
        if not ability.capable(model.capabilities):
            raise CapabilityMissing(
                f'"{text}" does not support {ability.task}: that takes a worker with --task {ability.task}'
            )
        return model

    def _only(self, ability: Ability) -> CatalogModel:
        fleet = self.catalog.fleet
        if not fleet.has_ready_worker:
            raise NoWorkerReady("no engine worker is ready yet, please try again")
        able: dict[str, ServedModel] = {}
        for each in self.catalog.served(ability.capable):
            main = each.info.names[0]
            if main not in able or each.name.short == main:
                able[main] = each
        match list(able.values()):
            case [only]:
                return CatalogModel(only.name, only)
            case []:
                raise CapabilityMissing(
                    f"no model of this server supports {ability.task}: that takes a worker with "
                    f"--task {ability.task}"
                )
        raise InvalidRequest(f"model is required: {', '.join(able)} support {ability.task}")

    async def rerank(
        self, http: Request, model: CatalogModel, request: pb.RerankRequest
    ) -> pb.RerankResponse:
        record = record_of(http.scope)
        async with self.in_flight.track(http.scope, http.receive):
            return await self.catalog.fleet.rerank(
                workers_of(model), request, record.ticket, RecordingObserver(record)
            )

    async def score(self, http: Request, model: CatalogModel, request: pb.ScoreRequest) -> pb.ScoreResponse:
        """Raises CapabilityMissing for a virtual model."""
        if model.virtual is not None:
            raise CapabilityMissing(
                f"{model.name.short} chooses between models, and token ids belong to one of them"
            )
        record = record_of(http.scope)
        async with self.in_flight.track(http.scope, http.receive):
            return await self.catalog.fleet.score(
                workers_of(model), request, record.ticket, RecordingObserver(record)
            )

    async def classify(
        self, http: Request, model: CatalogModel, request: pb.ClassifyRequest
    ) -> pb.ClassifyResponse:
        record = record_of(http.scope)
        async with self.in_flight.track(http.scope, http.receive):
            return await self.catalog.fleet.classify(
                workers_of(model), request, record.ticket, RecordingObserver(record)
            )


async def answered(
    http: Request, make: Callable[[], object], response: Results, ignored: Sequence[str]
) -> Response:
    """The response with the body that `make` gives, entered in the record. `ignored`: names of fields without
    effect.
    """
    record = record_of(http.scope)
    truncated = 0
    unsupported: list[str] = []
    match response:
        case pb.ScoreResponse():
            kind, count = "scored", len(response.results)
        case pb.RerankResponse():
            kind, count, truncated = "scores", len(response.scores), response.truncated_tokens
            unsupported = list(response.not_honoured)
        case _:
            kind, count = "classifications", len(response.classifications)
            truncated = response.truncated_tokens
    started = pb.Started(truncated_tokens=truncated, not_honoured=unsupported)
    diagnostics = DiagnosticHeaders.of(started, ignored)
    record.record_results(kind, count, response, truncated, diagnostics.not_honoured)
    both = [*diagnostics.headers(), *record.queue_headers()]
    headers = {name.decode(): value.decode() for name, value in both}
    # A response with its documents is as large as the request; numbers of many classes or labels are more.
    size = max(held_body_of(http.scope).length, response.ByteSize())
    body = await run_in_thread_if_large(lambda: dumps(make()) + b"\n", size, INLINE_BYTES)
    return Response(body, media_type=JSON, headers=headers)


def short(number: float) -> float:
    """Seven digits, which a 32-bit float has for certain."""
    return float(f"{number:.7g}")


def usage(prompt_tokens: int) -> dict[str, int]:
    """Nothing is generated: all tokens are the prompt's."""
    return {"prompt_tokens": prompt_tokens, "total_tokens": prompt_tokens}
