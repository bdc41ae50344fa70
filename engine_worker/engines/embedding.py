"""What engines share about embeddings: fitting texts, running several at once, shaping vectors."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence

from drover.errors import ContextExceeded, DroverError, EngineFailed
from drover.v1 import engine_pb2 as pb

EmbedIds = Callable[[list[int]], Awaitable[list[float]]]
TokenizeText = Callable[[str], Awaitable[list[int]]]


async def embed_texts(
    request: pb.EmbedRequest, tokenize: TokenizeText, embed: EmbedIds, at_once: int, context_length: int
) -> pb.EmbedResponse:
    """Embeds all texts, so many `at_once`. The first failure fails the whole request."""
    arrived_ns = time.perf_counter_ns()
    limit = min(request.num_ctx, context_length) if request.HasField("num_ctx") else context_length
    truncate = request.truncate if request.HasField("truncate") else True
    inputs = [_fit(await tokenize(text), limit, truncate) for text in request.texts]
    vectors: list[list[float]] = [[] for _ in inputs]
    todo = iter(enumerate(inputs))

    async def work() -> None:
        for index, ids in todo:
            vectors[index] = await embed(ids)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, len(inputs))):
                group.create_task(work())
    except* DroverError as failures:
        raise failures.exceptions[0] from None
    normalize = request.normalize if request.HasField("normalize") else True
    return pb.EmbedResponse(
        embeddings=[pb.Embedding(values=_shape(vector, request.dimensions, normalize)) for vector in vectors],
        prompt_tokens=sum(len(ids) for ids in inputs),
        timings=pb.Timings(prefill_ns=time.perf_counter_ns() - arrived_ns),
    )


def _fit(ids: list[int], limit: int, truncate: bool) -> list[int]:
    if len(ids) <= limit:
        return ids
    if not truncate:
        raise ContextExceeded("the input length exceeds the context length")
    if limit < 1:
        raise ContextExceeded("input exceeds maximum context length and cannot be truncated further")
    return ids[:limit]


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
