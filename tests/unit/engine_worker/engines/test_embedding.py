"""Texts on their way to an engine that embeds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from drover.errors import ContextExceeded, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.embedding import embed_texts

BEGIN, END = 1, 2


class Model:
    """A token for each character, between two special ones as BERT has them."""

    def __init__(self, specials: tuple[list[int], list[int]] = ([BEGIN], [END])) -> None:
        self.before, self.after = specials
        self.tokenized: list[str] = []
        self.embedded: list[list[int]] = []
        self.strips = False

    async def tokenize(self, text: str, add_special: bool) -> list[int]:
        self.tokenized.append(text)
        ids = [ord(character) for character in (text.strip() if self.strips else text)]
        return [*self.before, *ids, *self.after] if add_special else ids

    async def embed(self, ids: list[int]) -> list[float]:
        self.embedded.append(ids)
        return [3.0, 4.0]

    async def answer(
        self,
        *texts: str,
        context_length: int = 100,
        queue_ns: Callable[[], int] = lambda: 0,
        **fields: int | bool,
    ) -> pb.EmbedResponse:
        request = pb.EmbedRequest(texts=texts, **fields)  # type: ignore[arg-type]  # mypy cannot type fields in **
        return await embed_texts(request, self.tokenize, self.embed, 1, context_length, queue_ns)


async def test_a_text_that_is_cut_still_ends_as_the_model_wants() -> None:
    model = Model()
    response = await model.answer("abcdef", num_ctx=5)

    assert model.embedded == [[BEGIN, *b"abc", END]]
    assert response.prompt_tokens == 5
    assert response.truncated_tokens == 3


@pytest.mark.parametrize(
    ("specials", "cut"),
    [(([], []), b"ab"), (([BEGIN], []), bytes([BEGIN, *b"ab"])), (([], [END]), bytes([*b"ab", END]))],
)
async def test_room_for_bos_and_eos_is_left_where_a_model_adds_none(
    specials: tuple[list[int], list[int]], cut: bytes
) -> None:
    """As by Ollama: other vectors else."""
    model = Model(specials)
    await model.answer("abcdef", num_ctx=4)

    assert [bytes(ids) for ids in model.embedded] == [cut]


@pytest.mark.parametrize("limit", [0, 1])
async def test_a_context_without_room_for_the_text_is_refused(limit: int) -> None:
    with pytest.raises(ContextExceeded, match="cannot be truncated further"):
        await Model().answer("abcdef", num_ctx=limit)


@pytest.mark.parametrize("truncate", [True, False])
async def test_of_a_very_long_text_only_the_beginning_is_read(truncate: bool) -> None:
    model = Model()
    answer = model.answer("x" * 1_000_000, truncate=truncate)
    if truncate:
        assert (await answer).prompt_tokens == 100
    else:
        with pytest.raises(ContextExceeded):
            await answer

    assert max(map(len, model.tokenized)) < 2_000


@pytest.mark.parametrize("truncate", [True, False])
async def test_a_long_text_of_few_tokens_is_whole(truncate: bool) -> None:
    """White space at its beginning makes no tokens here."""
    model = Model()
    model.strips = True
    await model.answer(" " * 100_000 + "abc", truncate=truncate)

    assert model.embedded == [[BEGIN, *b"abc", END]]


async def test_an_empty_text_is_embedded_with_others() -> None:
    model = Model()
    response = await model.answer("", "a")

    assert model.embedded == [[BEGIN, END], [BEGIN, *b"a", END]]
    assert len(response.embeddings) == 2


async def test_an_empty_text_of_a_model_without_special_tokens_is_a_space() -> None:
    model = Model(([], []))
    await model.answer("", "a")

    assert [bytes(ids) for ids in model.embedded] == [b" ", b"a"]


async def test_a_model_that_knows_nothing_of_spaces_refuses_an_empty_text() -> None:
    model = Model(([], []))
    model.strips = True
    with pytest.raises(InvalidRequest):
        await model.answer("")


async def test_waiting_is_no_prefill() -> None:
    hour = 3_600_000_000_000
    timings = (await Model().answer("a", queue_ns=lambda: hour)).timings

    assert timings.queue_ns == hour
    assert 0 < timings.prefill_ns < hour


async def test_vectors_are_shaped() -> None:
    model = Model()
    whole = await model.answer("a")
    bare = await model.answer("a", normalize=False)
    cut = await model.answer("a", dimensions=1)

    assert [list(answer.embeddings[0].values) for answer in (whole, bare, cut)] == [
        pytest.approx([0.6, 0.8]),
        [3, 4],
        [1],
    ]


async def test_no_more_at_once_than_said() -> None:
    most = now = 0

    async def embed(ids: list[int]) -> list[float]:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1
        return [1.0]

    request = pb.EmbedRequest(texts=["a"] * 9)
    await embed_texts(request, Model().tokenize, embed, 3, 100)

    assert most == 3


async def test_truncated_tokens_are_summed_up_and_estimated_for_very_long_texts() -> None:
    model = Model(([], []))
    response = await model.answer("abc", "abcd", "x" * 100_000, num_ctx=3)

    assert response.prompt_tokens == 3 + 1 + 1
    assert response.truncated_tokens == 3 + 99_999
    assert max(map(len, model.tokenized)) < 1_000
