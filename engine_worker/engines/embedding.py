"""What engines share about embeddings: fitting texts, running several at once, shaping vectors."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence

from drover.errors import EngineFailed
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.batches import in_order
from engine_worker.engines.text_fitting import Fitting, TokenizeText

EmbedIds = Callable[[list[int]], Awaitable[list[float]]]


def _no_queue() -> int:
    return 0


async def embed_texts(
    request: pb.EmbedRequest,
    tokenize: TokenizeText,
    embed: EmbedIds,
    at_once: int,
    context_length: int,
    queue_ns: Callable[[], int] = _no_queue,
) -> pb.EmbedResponse:
    """Embed all texts, `at_once` of them at the same time. The first failure fails the whole request.

    `queue_ns` returns how long the request waited in the engine; it is called at the end.
    """
    arrived_ns = time.perf_counter_ns()
    limit = min(request.num_ctx, context_length) if request.HasField("num_ctx") else context_length
    truncate = request.truncate if request.HasField("truncate") else True
    fitting = Fitting(tokenize, limit, truncate)
    fitted = [await fitting.fitted(text) for text in request.texts]
    vectors = await in_order([text.ids for text in fitted], embed, at_once)
    normalize = request.normalize if request.HasField("normalize") else True
    total_ns, waited_ns = time.perf_counter_ns() - arrived_ns, queue_ns()
    return pb.EmbedResponse(
        embeddings=[pb.Embedding(values=_shape(vector, request.dimensions, normalize)) for vector in vectors],
        prompt_tokens=sum(len(text.ids) for text in fitted),
        truncated_tokens=sum(text.truncated_tokens for text in fitted),
        timings=pb.Timings(queue_ns=waited_ns, prefill_ns=max(1, total_ns - waited_ns)),
    )


def _shape(vector: Sequence[float], dimensions: int, normalize: bool) -> list[float]:
    if not all(math.isfinite(value) for value in vector):
        raise EngineFailed("embedding contains NaN or Inf values")
    values = list(vector)
    if 0 < dimensions < len(values):
        values = values[:dimensions]
    if not normalize:
        return values
    length = math.sqrt(sum(value * value for value in values)) or 1.0
    return [value / length for value in values]
