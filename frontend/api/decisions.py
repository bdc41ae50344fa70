"""The steps of all decision routes: find the model, check what it can do, have a worker score the labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

from drover.concurrency import run_in_thread_if_large
from drover.errors import CapabilityMissing, InvalidRequest
from drover.v1 import engine_pb2 as pb
from frontend.api.core.body import INLINE_BYTES
from frontend.api.core.conversion import check_takes_template
from frontend.api.core.keep_alive import set_keep_alive
from frontend.api.core.options import Options, layered
from frontend.api.generation import Generation
from frontend.api.wire import JSON, DiagnosticHeaders
from frontend.decision.question import Question
from frontend.decision.systemone import systemone_json
from frontend.middleware.held_bodies import held_body_of
from frontend.models.model import CatalogModel, workers_of
from frontend.observability.request_record import RecordingObserver, record_of

# Of the prompts of one request together.
MAX_PROMPT_BYTES = 64 * 1024 * 1024
# Of an image on top of its content: many small ones take their time too.
_IMAGE_BYTES = 256


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """Questions about a state, which may have images. `return_prompt_ids`: as in ScoreRequest."""

    model: str
    state: str
    questions: Sequence[Question]
    images: Sequence[bytes] = ()
    keep_alive: int | None = None
    return_prompt_ids: bool = False


@dataclass(frozen=True, slots=True)
class Decisions:
    generation: Generation

    async def decide(self, http: Request, request: DecisionRequest) -> pb.ScoreResponse:
        """Score the labels of every question, in one request to a worker.

        Raises as `Generation.find`, CapabilityMissing for a model that cannot decide or see, ContextExceeded:
        nothing is truncated.
        """
        model = _chosen(await self.generation.find(http, request.model), request.model)
        check_model(model, request)
        record, size = record_of(http.scope), _prompt_bytes(request)
        record.served = model.info.names[0]
        # Each question has the state in a prompt of its own.
        held = held_body_of(http.scope)
        held.grow(size)
        async with self.generation.track(http):
            message = await run_in_thread_if_large(
                lambda: score_request(request, model), held.length, INLINE_BYTES
            )
            response = await self.generation.catalog.fleet.score(
                workers_of(model), message, record.ticket, RecordingObserver(record)
            )
        record.record_scores(response)
        return response


def decided(http: Request, body: bytes, ignored: Iterable[str]) -> Response:
    """The response to a decision. `ignored`: names of fields without effect."""
    diagnostics = DiagnosticHeaders.of(pb.Started(), ignored)
    record = record_of(http.scope)
    if diagnostics.not_honoured:
        record.fields["not_honoured"] = diagnostics.not_honoured
    both = [*diagnostics.headers(), *record.queue_headers()]
    headers = {name.decode(): value.decode() for name, value in both}
    return Response(body, media_type=JSON, headers=headers)


def _chosen(model: CatalogModel, name: str) -> CatalogModel:
    """The side that the name of a virtual model fixes. Its judge reads conversations, not decisions."""
    if model.virtual is None:
        return model
    if model.virtual.forced is None:
        raise CapabilityMissing(
            f'"{name}" does not support decision: it is a virtual model, which routes conversations; '
            "name the model that shall decide"
        )
    return model.virtual.sides[model.virtual.forced]


def check_model(model: CatalogModel, request: DecisionRequest) -> None:
    """Raises CapabilityMissing, and NoWorkerReady where nothing is known of the model."""
    workers_of(model)
    if not model.capabilities.decision:
        raise CapabilityMissing(f'"{request.model}" does not support decision')
    has_images = bool(request.images) or any(question.images for question in request.questions)
    if has_images and not model.capabilities.vision:
        raise CapabilityMissing("image inputs are not supported by this decision model")


def _prompt_bytes(request: DecisionRequest) -> int:
    """Bytes of all prompts, about. Raises InvalidRequest for more than a worker is sent."""
    each = len(request.state.encode()) + sum(len(image) + _IMAGE_BYTES for image in request.images)
    size = len(request.questions) * each
    if size > MAX_PROMPT_BYTES:
        raise InvalidRequest(
            f"{len(request.questions)} questions about a state of {each} bytes, images included, are {size} "
            f"bytes of prompts, at most {MAX_PROMPT_BYTES} are possible; ask them in several requests"
        )
    return size


def score_request(request: DecisionRequest, model: CatalogModel) -> pb.ScoreRequest:
    """A preset's template makes the prompts. Its system message and examples are no part of them: they are
    about conversations. Raises CapabilityMissing for a template that the model's engine does not take.
    """
    message = pb.ScoreRequest(
        model=model.info.names[0],
        items=[question.item(request.state, request.images) for question in request.questions],
        template=model.own_template,
        adapter=model.adapter,
        return_prompt_ids=request.return_prompt_ids,
        systemone_json=systemone_json(request.state, request.questions, request.images),
    )
    check_takes_template(message, model)
    num_ctx = Options.read(layered(model.parameters, {})).num_ctx
    if num_ctx is not None:
        message.num_ctx = max(0, num_ctx)
    set_keep_alive(message, request.keep_alive)
    return message
