"""What engines share about classifying: fitting texts, probabilities of classes."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from drover.errors import ContextExceeded, EngineFailed, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.batches import in_order
from engine_worker.engines.text_fitting import Fitted, Fitting, TokenizeText

# Some megabytes of text.
_MAX_NUMBERS = 1_000_000
Logits = Callable[[list[int]], Awaitable[list[float]]]


def _no_queue() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Classifier:
    """A model with one logit for each of `labels`. `vocabulary_size`: of the token ids that it takes;
    `at_once`: texts of one request in the engine.
    """

    tokenize: TokenizeText
    logits: Logits
    labels: Sequence[str]
    context_length: int
    vocabulary_size: int
    at_once: int


async def classify_texts(
    request: pb.ClassifyRequest, model: Classifier, queue_ns: Callable[[], int] = _no_queue
) -> pb.ClassifyResponse:
    """Classify all texts. The first failure fails the whole request. `queue_ns` returns how long the request
    waited in the engine; it is called at the end.
    """
    arrived_ns = time.perf_counter_ns()
    if (numbers := len(request.inputs) * len(model.labels)) > _MAX_NUMBERS:
        raise InvalidRequest(
            f"{len(request.inputs)} texts with {len(model.labels)} classes each are more than {_MAX_NUMBERS} "
            f"numbers ({numbers}); send them in several requests"
        )
    limit = model.context_length
    if request.HasField("text_tokens"):
        limit = min(max(1, request.text_tokens), limit)
    truncate = request.truncate if request.HasField("truncate") else True
    fitting = Fitting(model.tokenize, limit, truncate)
    fitted = [await _fitted(each, fitting, model) for each in request.inputs]
    rows = await in_order([each.ids for each in fitted], model.logits, model.at_once)
    shape = list if request.raw else softmax
    total_ns, waited_ns = time.perf_counter_ns() - arrived_ns, queue_ns()
    return pb.ClassifyResponse(
        classifications=[pb.Classification(probabilities=shape(_checked(row))) for row in rows],
        labels=model.labels,
        prompt_tokens=sum(len(each.ids) for each in fitted),
        truncated_tokens=sum(each.truncated_tokens for each in fitted),
        timings=pb.Timings(queue_ns=waited_ns, prefill_ns=max(1, total_ns - waited_ns)),
    )


def softmax(logits: Sequence[float]) -> list[float]:
    largest = max(logits)
    powers = [math.exp(logit - largest) for logit in logits]
    total = sum(powers)
    return [power / total for power in powers]


async def _fitted(given: pb.ClassifyInput, fitting: Fitting, model: Classifier) -> Fitted:
    if given.WhichOneof("input") != "tokens":
        return await fitting.fitted(given.text)
    ids = list(given.tokens.ids)
    if not ids:
        raise InvalidRequest("a list of token ids is empty")
    if (largest := max(ids)) >= model.vocabulary_size:
        raise InvalidRequest(
            f"token id {largest} is not in the model's vocabulary of {model.vocabulary_size} tokens"
        )
    if len(ids) > fitting.limit and not fitting.truncate:
        raise ContextExceeded("the input length exceeds the context length")
    return Fitted(ids[: fitting.limit], max(0, len(ids) - fitting.limit))


def _checked(row: list[float]) -> list[float]:
    if not row or not all(map(math.isfinite, row)):
        raise EngineFailed("a class has a logit that is NaN or Inf")
    return row
