"""Pairs of a query and a document on their way to an engine that reranks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from drover.errors import ContextExceeded, EngineFailed, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.reranking import Pair, PairModel, rerank_pairs, sigmoid

ADDED = 3


class Letters:
    """A token for each character but spaces."""

    def __init__(self) -> None:
        self.scored: list[Pair] = []
        self.values: list[float] = []
        self.tokenized: list[str] = []

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        assert not add_special
        self.tokenized.append(text)
        return [ord(character) for character in text if character != " "]

    async def scores(self, pairs: Sequence[Pair]) -> list[float]:
        self.scored += pairs
        return self.values or [float(len(pair.document)) for pair in pairs]

    async def answer(
        self, request: pb.RerankRequest, context_length: int = 100, gives_logits: bool = True
    ) -> pb.RerankResponse:
        return await rerank_pairs(
            request, PairModel(self, context_length, ADDED, self.scores, gives_logits=gives_logits)
        )


def _request(query: str, *documents: str, **fields: object) -> pb.RerankRequest:
    return pb.RerankRequest(queries=[query], documents=documents, **fields)  # type: ignore[arg-type]  # mypy cannot type fields in **


async def test_scores_are_in_the_order_of_the_documents() -> None:
    model = Letters()
    response = await model.answer(_request("qq", "a", "bbb"))

    assert list(response.scores) == pytest.approx([sigmoid(1), sigmoid(3)])
    assert model.scored == [Pair("qq", "a", 2 + 1 + ADDED), Pair("qq", "bbb", 2 + 3 + ADDED)]
    assert (response.prompt_tokens, response.truncated_tokens) == (14, 0)


async def test_one_query_is_tokenised_once() -> None:
    model = Letters()
    await model.answer(_request("query", "a", "b", "c"))
    assert model.tokenized.count("query") == 1


async def test_a_query_that_is_too_long_is_cut_once() -> None:
    model = Letters()
    await model.answer(_request("some long query", *"abcdefgh", query_tokens=8))
    assert [pair.query for pair in model.scored] == ["some long "] * 8
    cuts = [text for text in model.tokenized if len(text) > 1]
    assert len(cuts) == len(set(cuts)) < 8


async def test_a_query_for_each_document() -> None:
    model = Letters()
    request = pb.RerankRequest(queries=["q", "r"], documents=["a", "b"])
    await model.answer(request)
    assert [(pair.query, pair.document) for pair in model.scored] == [("q", "a"), ("r", "b")]


@pytest.mark.parametrize("queries", [[], ["q", "r"], ["q"] * 4])
async def test_other_numbers_of_queries_are_refused(queries: list[str]) -> None:
    with pytest.raises(InvalidRequest, match=f"{len(queries)} queries for 3 documents"):
        await Letters().answer(pb.RerankRequest(queries=queries, documents=["a", "b", "c"]))


@pytest.mark.parametrize(("gives_logits", "raw"), [(True, True), (False, False), (False, True)])
async def test_scores_as_the_model_gives_them(gives_logits: bool, raw: bool) -> None:
    response = await Letters().answer(_request("q", "abc", raw=raw), gives_logits=gives_logits)
    assert list(response.scores) == [3.0]
    assert list(response.not_honoured) == (["raw_scores"] if raw and not gives_logits else [])


async def test_an_instruction_without_a_place_is_named() -> None:
    response = await Letters().answer(_request("q", "a", instruction="judge"))
    assert list(response.not_honoured) == ["instruction"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
async def test_a_score_that_is_no_number_is_a_failure(value: float) -> None:
    model = Letters()
    model.values = [value]
    with pytest.raises(EngineFailed, match="NaN or Inf"):
        await model.answer(_request("q", "a"))


@pytest.mark.parametrize(
    ("query", "document", "kept"),
    [
        ("qq", "d" * 50, ("qq", "d" * 15)),
        ("q" * 50, "dd", ("q" * 15, "dd")),
        ("q" * 50, "d" * 50, ("q" * 8, "d" * 9)),
        ("q" * 8, "d" * 9, ("q" * 8, "d" * 9)),
    ],
)
async def test_the_longer_text_is_cut_first(query: str, document: str, kept: tuple[str, str]) -> None:
    model = Letters()
    response = await model.answer(_request(query, document), context_length=17 + ADDED)

    (pair,) = model.scored
    assert (pair.query, pair.document) == kept
    assert response.prompt_tokens == pair.tokens == 17 + ADDED if "d" * 50 in document else 20
    assert response.truncated_tokens == len(query) + len(document) - sum(map(len, kept))


async def test_limits_of_each_text_and_of_both() -> None:
    model = Letters()
    documents = ("d" * 9, "e")
    await model.answer(_request("q" * 9, *documents, query_tokens=2, document_tokens=3))
    await model.answer(_request("q" * 9, *documents, pair_tokens=10))
    assert [(pair.query, pair.document) for pair in model.scored] == [
        ("qq", "ddd"),
        ("qq", "e"),
        ("qqq", "dddd"),
        ("qqqqqq", "e"),
    ]


async def test_what_is_too_long_is_refused_without_truncation() -> None:
    model = Letters()
    with pytest.raises(ContextExceeded, match="51 tokens together"):
        await model.answer(_request("q", "short", "d" * 50, truncate=False), context_length=20)
    assert model.scored == []
    await model.answer(_request("q", "d" * 9, document_tokens=3, truncate=False), context_length=20)
    assert model.scored[0].document == "ddd"


async def test_too_little_room_for_any_pair() -> None:
    with pytest.raises(ContextExceeded, match="4 tokens are too few"):
        await Letters().answer(_request("q", "d", pair_tokens=4))


@pytest.mark.parametrize(
    ("document", "kept"),
    [
        ("aa bb cc dd", "aa bb "),
        ("aa bbb cc dd", "aa"),
        ("aaaaaaaa", "aaaa"),
        ("羊羊羊羊羊羊", "羊羊羊羊"),
        ("aa, bb, cc", "aa,"),
        (f"{'a' * 3} {'b' * 40}", "aaa"),
    ],
)
async def test_words_are_kept_whole_where_they_are_short(document: str, kept: str) -> None:
    model = Letters()
    response = await model.answer(_request("q", document, document_tokens=4))
    assert model.scored[0].document == kept
    assert model.scored[0].tokens == 1 + len(kept.replace(" ", "")) + ADDED == response.prompt_tokens


async def test_of_a_long_document_only_the_beginning_is_tokenised() -> None:
    model = Letters()
    response = await model.answer(_request("q", "d" * 1_000_000), context_length=20)
    assert max(map(len, model.tokenized)) < 1000
    assert response.truncated_tokens == 1_000_000 - 16


@pytest.mark.parametrize("logit", [-1000.0, -3.0, 0.0, 3.0, 1000.0])
def test_a_sigmoid_without_overflow(logit: float) -> None:
    assert sigmoid(logit) + sigmoid(-logit) == pytest.approx(1)
    assert 0 <= sigmoid(logit) <= 1
