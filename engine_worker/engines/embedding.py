"""What engines share about embeddings: fitting texts, running several at once, shaping vectors."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from drover.errors import ContextExceeded, DroverError, EngineFailed, InvalidRequest
from drover.v1 import engine_pb2 as pb

EmbedIds = Callable[[list[int]], Awaitable[list[float]]]
# A text, and whether to add the tokens that the model wants around it.
TokenizeText = Callable[[str, bool], Awaitable[list[int]]]

_ANY_TEXT = "a"
# How much of a long text is tokenised first: enough to fill the window in most languages.
_CHARACTERS_PER_TOKEN = 8
_MORE = 4
# The last tokens of a cut text may differ from those of the whole text.
_CUT_TOKENS = 32
# Ollama leaves room for BOS and EOS in a text that it cuts, also where the model adds none.
_COUNTED_SPECIALS = 2


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
    fitting = _Fitting(tokenize, limit, truncate)
    fitted = [await fitting.fitted(text) for text in request.texts]
    inputs = [text.ids for text in fitted]
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
    total_ns, waited_ns = time.perf_counter_ns() - arrived_ns, queue_ns()
    return pb.EmbedResponse(
        embeddings=[pb.Embedding(values=_shape(vector, request.dimensions, normalize)) for vector in vectors],
        prompt_tokens=sum(len(ids) for ids in inputs),
        truncated_tokens=sum(text.truncated_tokens for text in fitted),
        timings=pb.Timings(queue_ns=waited_ns, prefill_ns=max(1, total_ns - waited_ns)),
    )


class _Fitted(NamedTuple):
    ids: list[int]
    truncated_tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Fitting:
    tokenize: TokenizeText
    limit: int
    truncate: bool

    async def fitted(self, text: str) -> _Fitted:
        ids, unread = await self._beginning(text)
        if not ids:
            return _Fitted(await self._stand_in())
        if len(ids) <= self.limit:
            return _Fitted(ids)
        if not self.truncate:
            raise ContextExceeded("the input length exceeds the context length")
        added, suffix = await self._ends()
        length = self.limit - max(0, _COUNTED_SPECIALS - added)
        if length <= added:
            raise ContextExceeded("input exceeds maximum context length and cannot be truncated further")
        # The rest of the text is assumed to have as many tokens per character.
        unread_tokens = math.ceil(len(ids) * unread / (len(text) - unread))
        return _Fitted(ids[: length - len(suffix)] + suffix, len(ids) - length + unread_tokens)

    async def _beginning(self, text: str) -> tuple[list[int], int]:
        """Return the tokens of the text, or at least those that are kept, and the number of characters that
        were not tokenised.
        """
        enough = self.limit + _CUT_TOKENS
        characters = enough * _CHARACTERS_PER_TOKEN
        ids = await self.tokenize(text[:characters], True)
        while len(ids) <= enough and characters < len(text):
            characters *= _MORE
            ids = await self.tokenize(text[:characters], True)
        return ids, max(0, len(text) - characters)

    async def _ends(self) -> tuple[int, list[int]]:
        """Return the number of tokens that the model adds to a text, and those at the end, for example [SEP],
        whose vector may be the text's.
        """
        whole, bare = await self.tokenize(_ANY_TEXT, True), await self.tokenize(_ANY_TEXT, False)
        for at in range(len(whole) - len(bare) + 1):
            if whole[at : at + len(bare)] == bare:
                return len(whole) - len(bare), whole[at + len(bare) :]
        return 0, []

    async def _stand_in(self) -> list[int]:
        """The tokens in place of a text without tokens, which would have no vector."""
        ids = await self.tokenize(" ", True)
        if not ids:
            raise InvalidRequest("there is nothing to embed in this text")
        return ids[: max(1, self.limit)]


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
