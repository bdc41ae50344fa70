"""What engines share about reranking: pairs of a query and a document that fit, and their scores."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from drover.errors import ContextExceeded, EngineFailed, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.batches import in_order
from engine_worker.engines.text_fitting import beginning

# Characters of a word that is not cut. Some languages write without spaces.
_LONG_WORD = 32


class Tokenizer(Protocol):
    async def tokenize(self, text: str, add_special: bool) -> list[int]: ...


class Pair(NamedTuple):
    """`tokens`: of both, with those that the model adds."""

    query: str
    document: str
    tokens: int


ScorePairs = Callable[[Sequence[Pair]], Awaitable[list[float]]]


def one_by_one(score: Callable[[Pair], Awaitable[float]], at_once: int) -> ScorePairs:
    """For an engine that scores one pair in a call: `at_once` calls of one request at the same time."""
    return lambda pairs: in_order(pairs, score, at_once)


def sigmoid(logit: float) -> float:
    """Map a logit to 0 to 1, as rerankers with one label are trained."""
    if logit < 0:
        power = math.exp(logit)
        return power / (1 + power)
    return 1 / (1 + math.exp(-logit))


def _no_queue() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class PairModel:
    """A model that scores pairs. `added_tokens`: those around and between the texts of a pair; `scores`:
    logits if `gives_logits`, else they are final; `takes_instruction`: `scores` uses the request's.
    """

    tokenizer: Tokenizer
    context_length: int
    added_tokens: int
    scores: ScorePairs
    gives_logits: bool
    takes_instruction: bool = False


async def rerank_pairs(
    request: pb.RerankRequest, model: PairModel, queue_ns: Callable[[], int] = _no_queue
) -> pb.RerankResponse:
    """Score all pairs. The first failure fails the whole request. `queue_ns` returns how long the request
    waited in the engine; it is called at the end.
    """
    arrived_ns = time.perf_counter_ns()
    fitted = await _fitted(request, model)
    scores = await model.scores([each.pair for each in fitted])
    if not all(map(math.isfinite, scores)):
        raise EngineFailed("a score is NaN or Inf")
    total_ns, waited_ns = time.perf_counter_ns() - arrived_ns, queue_ns()
    return pb.RerankResponse(
        scores=map(sigmoid, scores) if model.gives_logits and not request.raw else scores,
        prompt_tokens=sum(each.pair.tokens for each in fitted),
        truncated_tokens=sum(each.truncated_tokens for each in fitted),
        timings=pb.Timings(queue_ns=waited_ns, prefill_ns=max(1, total_ns - waited_ns)),
        not_honoured=_not_honoured(request, model),
    )


def _not_honoured(request: pb.RerankRequest, model: PairModel) -> Iterator[str]:
    if request.raw and not model.gives_logits:
        yield "raw_scores"
    if request.instruction and not model.takes_instruction:
        yield "instruction"


def _texts_of(request: pb.RerankRequest) -> Sequence[tuple[str, str]]:
    """Raises InvalidRequest for queries that are neither one nor one for each document."""
    queries, documents = list(request.queries), list(request.documents)
    if len(queries) not in (1, len(documents)):
        raise InvalidRequest(
            f"{len(queries)} queries for {len(documents)} documents: one, or one for each, is possible"
        )
    if len(queries) == 1:
        queries *= len(documents)
    return list(zip(queries, documents, strict=True))


class _Text(NamedTuple):
    """`characters`: how many were read, which is all, or more than there is room for; `tokens`: of those;
    `total`: of the whole text.
    """

    text: str
    characters: int
    tokens: int
    total: int


class _FittedPair(NamedTuple):
    pair: Pair
    truncated_tokens: int


async def _fitted(request: pb.RerankRequest, model: PairModel) -> list[_FittedPair]:
    limit = model.context_length
    if request.HasField("pair_tokens"):
        limit = min(request.pair_tokens, limit)
    if (room := limit - model.added_tokens) < 2:
        raise ContextExceeded(
            f"{limit} tokens are too few for a query and a document: the model adds {model.added_tokens}"
        )
    truncate = request.truncate if request.HasField("truncate") else True
    fitting = _PairFitting(model, room, truncate, request.query_tokens, request.document_tokens)
    return [await fitting.fitted(query, document) for query, document in _texts_of(request)]


@dataclass(slots=True)
class _PairFitting:
    """Cuts the longer of the two texts first, until they have at most `room` tokens together."""

    model: PairModel
    room: int
    truncate: bool
    query_tokens: int
    document_tokens: int
    _last_query: _Text | None = None
    _query_cuts: dict[int, tuple[str, int]] = field(default_factory=dict)
    """Results of `_cut` for the last query, by length."""

    async def fitted(self, query_text: str, document_text: str) -> _FittedPair:
        query, document = await self._query(query_text), await self._read(document_text)
        query_length = _limited(query.tokens, self.query_tokens)
        document_length = _limited(document.tokens, self.document_tokens)
        if query_length + document_length > self.room:
            if not self.truncate:
                raise ContextExceeded(
                    f"a query and its document have {query.total + document.total} tokens together, and this "
                    f"model takes {self.room}"
                )
            half = self.room // 2
            query_length = min(query_length, max(half, self.room - document_length))
            document_length = min(document_length, self.room - query_length)
        query_text, query_length = await self._cut_query(query, query_length)
        document_text, document_length = await self._cut(document, document_length)
        tokens = query_length + document_length
        return _FittedPair(
            Pair(query_text, document_text, tokens + self.model.added_tokens),
            query.total + document.total - tokens,
        )

    async def _query(self, text: str) -> _Text:
        """Most requests have one query for all documents."""
        if self._last_query is None or self._last_query.text != text:
            self._last_query = await self._read(text)
            self._query_cuts.clear()
        return self._last_query

    async def _read(self, text: str) -> _Text:
        read = await beginning(self.model.tokenizer.tokenize, text, self.room, add_special=False)
        return _Text(text, read.characters, len(read.ids), read.total)

    async def _cut_query(self, query: _Text, length: int) -> tuple[str, int]:
        if length not in self._query_cuts:
            self._query_cuts[length] = await self._cut(query, length)
        return self._query_cuts[length]

    async def _cut(self, text: _Text, length: int) -> tuple[str, int]:
        """The longest beginning of a text that has at most `length` tokens, and how many it has. It does not
        end within a word, if the word is short.
        """
        if length == text.total:
            return text.text, length
        kept, tokens = 0, 0
        too_many = text.characters
        while too_many - kept > 1:
            middle = (kept + too_many) // 2
            found = await self._count(text.text[:middle])
            if found <= length:
                kept, tokens = middle, found
            else:
                too_many = middle
        if not kept:
            raise ContextExceeded("a text cannot be cut so that it fits; send a shorter one")
        whole_words = _without_part_of_word(text.text, kept)
        if whole_words == kept:
            return text.text[:kept], tokens
        return text.text[:whole_words], await self._count(text.text[:whole_words])

    async def _count(self, text: str) -> int:
        return len(await self.model.tokenizer.tokenize(text, False))


def _without_part_of_word(text: str, length: int) -> int:
    """The length without the part of a word at its end; the length itself where no word begins nearby."""
    if not (text[length - 1].isalnum() and text[length : length + 1].isalnum()):
        return length
    start = max(0, length - _LONG_WORD)
    spaces = [index for index in range(start, length) if text[index].isspace()]
    return spaces[-1] if spaces and spaces[-1] > 0 else length


def _limited(length: int, limit: int) -> int:
    return min(length, limit) if limit else length
