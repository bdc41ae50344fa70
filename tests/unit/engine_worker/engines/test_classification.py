"""Texts on their way to an engine that classifies."""

from __future__ import annotations

import math

import pytest

from drover.errors import ContextExceeded, EngineFailed, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.classification import Classifier, classify_texts, softmax

LABELS = ("bad", "good")


class Letters:
    """A token for each character; its logits are the number of tokens, and 0."""

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.values: list[float] = []

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        return [ord(character) for character in text]

    async def logits(self, ids: list[int]) -> list[float]:
        self.seen.append(ids)
        return self.values or [float(len(ids)), 0.0]

    async def answer(self, *inputs: pb.ClassifyInput, **fields: object) -> pb.ClassifyResponse:
        request = pb.ClassifyRequest(inputs=inputs, **fields)  # type: ignore[arg-type]  # mypy cannot type fields in **
        return await classify_texts(request, Classifier(self.tokenize, self.logits, LABELS, 10, 256, 2))


def _text(text: str) -> pb.ClassifyInput:
    return pb.ClassifyInput(text=text)


def _ids(*ids: int) -> pb.ClassifyInput:
    return pb.ClassifyInput(tokens=pb.TokenIds(ids=ids))


async def test_probabilities_in_the_order_of_the_texts() -> None:
    response = await Letters().answer(_text("a"), _text("bbb"))

    rows = [list(each.probabilities) for each in response.classifications]
    assert rows == [pytest.approx(softmax([1, 0])), pytest.approx(softmax([3, 0]))]
    assert (list(response.labels), response.prompt_tokens) == (["bad", "good"], 4)


async def test_raw_numbers() -> None:
    response = await Letters().answer(_text("abc"), raw=True)
    assert list(response.classifications[0].probabilities) == [3.0, 0.0]


async def test_token_ids_are_taken_as_they_are() -> None:
    model = Letters()
    response = await model.answer(_ids(1, 2, 3))
    assert (model.seen, response.prompt_tokens) == ([[1, 2, 3]], 3)


@pytest.mark.parametrize(("ids", "message"), [([], "is empty"), ([1, 256], "token id 256 is not in the")])
async def test_ids_of_no_token_are_refused(ids: list[int], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        await Letters().answer(_ids(*ids))


@pytest.mark.parametrize("given", [_text("x" * 12), _ids(*[1] * 12)])
async def test_too_long_is_cut_or_refused(given: pb.ClassifyInput) -> None:
    model = Letters()
    response = await model.answer(given)
    assert response.truncated_tokens == 12 - len(model.seen[0]) > 0
    shorter = await model.answer(given, text_tokens=4)
    assert shorter.truncated_tokens == 12 - len(model.seen[1]) > response.truncated_tokens
    with pytest.raises(ContextExceeded):
        await model.answer(given, truncate=False)


async def test_more_numbers_than_a_response_may_have_are_refused() -> None:
    model = Letters()
    with pytest.raises(InvalidRequest, match="500001 texts with 2 classes"):
        await model.answer(*[_text("a")] * 500_001)
    assert model.seen == []


@pytest.mark.parametrize("row", [[math.nan, 0.0], [math.inf, 0.0]])
async def test_a_logit_that_is_no_number_is_a_failure(row: list[float]) -> None:
    model = Letters()
    model.values = row
    with pytest.raises(EngineFailed, match="NaN or Inf"):
        await model.answer(_text("a"))


def test_a_softmax_without_overflow() -> None:
    assert softmax([1000.0, 0.0]) == [1.0, 0.0]
    assert sum(softmax([1.0, 2.0, 3.0])) == pytest.approx(1)
