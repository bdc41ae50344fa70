"""Calls with one response that take a place at a worker: they wait in the model's queue like generations, and
are made again at another worker if theirs fails.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from drover.durations import NS_PER_SECOND
from drover.errors import DroverError, EngineStalled, ProtocolBroken, QueueFull, RetryElsewhere
from drover.v1 import engine_pb2 as pb
from frontend.routing.adapters import AdapterDelivery
from frontend.routing.backends.base import Worker
from frontend.routing.backends.grpc.event_check import broken
from frontend.routing.backends.unary_call import UnaryCall
from frontend.routing.capacity import WorkerPermit
from frontend.routing.failover import FailoverObserver, new_attempt_id
from frontend.routing.fair_queue import Ticket
from frontend.routing.retry import RetryBudget, RetryPolicy, jitter
from frontend.routing.scheduler import Scheduler
from frontend.routing.served_model import ServedModel
from frontend.routing.stalled_requests import StalledRequests
from frontend.routing.work import (
    NO_WORK,
    PromptSize,
    Work,
    size_of_classification,
    size_of_embedding,
    size_of_rerank,
    size_of_scores,
)
from frontend.routing.work_estimate import EstimateRequest

Request = TypeVar("Request", pb.EmbedRequest, pb.ScoreRequest, pb.RerankRequest, pb.ClassifyRequest)
Response = TypeVar("Response", pb.EmbedResponse, pb.ScoreResponse, pb.RerankResponse, pb.ClassifyResponse)


@dataclass(frozen=True, slots=True)
class Rpc(Generic[Request, Response]):
    """`send`: makes the call at a worker, with the client's request id; `wrong`: what is wrong with its
    response, empty if nothing is; `size`: of a request's prompts; `work`: that the response reports.
    """

    send: Callable[[Worker, Request, str], Awaitable[Response]]
    wrong: Callable[[Request, Response], str]
    size: Callable[[Request], PromptSize]
    work: Callable[[Response], Work]


@dataclass(frozen=True, slots=True)
class QueuedCalls:
    scheduler: Scheduler
    budget: RetryBudget
    stalled: StalledRequests
    adapters: AdapterDelivery

    async def run(
        self,
        rpc: Rpc[Request, Response],
        model: ServedModel,
        request: Request,
        ticket: Ticket,
        observer: FailoverObserver,
        affinity: bytes | None = None,
    ) -> Response:
        """Queue the request, and try another worker if one fails. `affinity`: of the prompt's beginning.
        Raises EngineStalled if one stalls. The client is charged once, nothing for a call that fails.
        """
        asked = EstimateRequest(ticket.client, rpc.size(request), affinity, most_generated=0)
        charge = self.scheduler.charge(model, asked)
        try:
            response = await self._run(
                rpc, model, request, replace(ticket, charge=charge), observer, affinity
            )
            charge.settle(rpc.work(response), is_whole=True)
            return response
        except DroverError:
            charge.settle(NO_WORK)
            raise
        finally:
            # The client left, and its prompts may be computed.
            charge.settle(charge.estimate)

    async def _run(
        self,
        rpc: Rpc[Request, Response],
        model: ServedModel,
        request: Request,
        ticket: Ticket,
        observer: FailoverObserver,
        affinity: bytes | None,
    ) -> Response:
        self.budget.earn()
        retries = RetryPolicy(self.budget)
        self.stalled.check(request)
        load_ns = 0
        while True:
            permit, wait = await self.scheduler.acquire_observed(
                model, ticket, retries.failed, observer, affinity
            )
            load_ns += round(wait.load_seconds * NS_PER_SECOND)
            if wait.position > 0:
                ticket = replace(ticket, requeued=True)
            if trace_context := observer.sent_to(permit.worker.address):
                request.trace_context.update(trace_context)
            try:
                response = await self._attempt(rpc, permit, request, ticket, observer)
                response.timings.load_ns += load_ns
                return response
            except QueueFull:
                # The worker has less room than it reported: queue again.
                pass
            except EngineStalled:
                if permit.is_only_suspect:
                    self.stalled.add(request)
                raise
            except RetryElsewhere as error:
                ticket = replace(ticket, requeued=True)
                if not retries.allows_another(permit.worker, error):
                    raise
                observer.retried(error)
            await jitter()

    async def _attempt(
        self,
        rpc: Rpc[Request, Response],
        permit: WorkerPermit,
        request: Request,
        ticket: Ticket,
        observer: FailoverObserver,
    ) -> Response:
        """Make one attempt and release its permit."""
        failure: DroverError | None = None
        request.request_id = new_attempt_id()
        if isinstance(request, pb.ScoreRequest):
            request.priority = ticket.priority
        adapter = request.adapter if isinstance(request, pb.ScoreRequest | pb.RerankRequest) else ""
        worker = permit.worker
        call = UnaryCall(
            self.adapters.call(adapter, worker, lambda: rpc.send(worker.backend, request, ticket.request_id))
        )
        permit.handle = call
        try:
            response = await call.result()
            if wrong := rpc.wrong(request, response):
                raise broken(wrong)
            permit.on_first_event()
            observer.ended(None)
            return response
        except DroverError as error:
            failure = error
            observer.ended(error)
            if isinstance(error, ProtocolBroken):
                permit.broke_protocol(error)
            raise
        finally:
            permit.release(failure)


def _wrong_embeddings(request: pb.EmbedRequest, response: pb.EmbedResponse) -> str:
    return _wrong_count(len(response.embeddings), "embeddings", len(request.texts), "texts")


def _wrong_labels(request: pb.ScoreRequest, response: pb.ScoreResponse) -> str:
    results, items = response.results, request.items
    for result, item in zip(results, items, strict=False):
        labels = len(item.labels or item.label_ids)
        if wrong := _wrong_count(len(result.logprobs), "scores", labels, "labels"):
            return wrong
        if wrong := _wrong_count(len(result.label_ids), "label ids", labels, "labels"):
            return wrong
        if not all(-math.inf < logprob <= 0 for logprob in result.logprobs):
            return "a score that is no log probability"
    return _wrong_count(len(results), "results", len(items), "items")


def _wrong_scores(request: pb.RerankRequest, response: pb.RerankResponse) -> str:
    if not _are_finite(response.scores):
        return "a score that is no number"
    return _wrong_count(len(response.scores), "scores", len(request.documents), "documents")


def _wrong_classes(request: pb.ClassifyRequest, response: pb.ClassifyResponse) -> str:
    found = response.classifications
    labels = len(response.labels)
    if not labels:
        return "no names of classes"
    if any(len(each.probabilities) != labels for each in found):
        return f"a text has not one probability for each of {labels} labels"
    if not all(_are_finite(each.probabilities) for each in found):
        return "a probability that is no number"
    return _wrong_count(len(found), "classifications", len(request.inputs), "texts")


def _are_finite(numbers: Iterable[float]) -> bool:
    """Of 32 bits each, so that the sum of finite ones is finite."""
    return math.isfinite(sum(numbers))


def _wrong_count(found: int, what: str, wanted: int, of: str) -> str:
    return "" if found == wanted else f"{found} {what} of {wanted} {of}"


EMBED: Rpc[pb.EmbedRequest, pb.EmbedResponse] = Rpc(
    lambda worker, request, client_id: worker.embed(request, client_id),
    _wrong_embeddings,
    size_of_embedding,
    lambda response: Work(response.prompt_tokens, truncated_tokens=response.truncated_tokens),
)
SCORE: Rpc[pb.ScoreRequest, pb.ScoreResponse] = Rpc(
    lambda worker, request, client_id: worker.score(request, client_id),
    _wrong_labels,
    size_of_scores,
    lambda response: Work(response.prompt_tokens, response.cached_tokens),
)
RERANK: Rpc[pb.RerankRequest, pb.RerankResponse] = Rpc(
    lambda worker, request, client_id: worker.rerank(request, client_id),
    _wrong_scores,
    size_of_rerank,
    lambda response: Work(response.prompt_tokens, truncated_tokens=response.truncated_tokens),
)
CLASSIFY: Rpc[pb.ClassifyRequest, pb.ClassifyResponse] = Rpc(
    lambda worker, request, client_id: worker.classify(request, client_id),
    _wrong_classes,
    size_of_classification,
    lambda response: Work(response.prompt_tokens, truncated_tokens=response.truncated_tokens),
)
