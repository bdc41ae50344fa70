from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from drover.errors import CapabilityMissing, ContextExceeded, QueueFull
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.simulator import SimulatorEngine
from tests.unit.engine_worker.engines.simulator.harness import (
    FAST,
    STILL,
    answer,
    before_deadline,
    prompt_request,
    running,
    until,
)


@pytest.fixture
async def embedder() -> AsyncIterator[SimulatorEngine]:
    engine = SimulatorEngine(["sim"], FAST, "embed")
    await engine.start()
    yield engine
    await before_deadline(engine.stop())


async def vectors(engine: SimulatorEngine, request: pb.EmbedRequest) -> list[list[float]]:
    return [list(each.values) for each in (await before_deadline(engine.embed(request))).embeddings]


def product(one: list[float], other: list[float]) -> float:
    return sum(left * right for left, right in zip(one, other, strict=True))


async def test_texts_become_unit_vectors_in_order(embedder: SimulatorEngine) -> None:
    both = await vectors(embedder, pb.EmbedRequest(texts=["the sheep", "the wheel"]))
    again = await vectors(embedder, pb.EmbedRequest(texts=["the wheel"]))
    assert [len(each) for each in both] == [64, 64]
    assert [product(each, each) for each in both] == pytest.approx([1, 1])
    assert both[1] == again[0]
    assert both[0] != both[1]


async def test_common_words_bring_texts_together(embedder: SimulatorEngine) -> None:
    near, far, text = await vectors(
        embedder,
        pb.EmbedRequest(texts=["sheep graze on the hill", "a car is red", "Sheep sleep on the hill"]),
    )
    assert product(near, text) > product(far, text) + 0.2


async def test_dimensions_and_normalize_are_obeyed(embedder: SimulatorEngine) -> None:
    (cut,) = await vectors(embedder, pb.EmbedRequest(texts=["a b"], dimensions=8))
    (plain,) = await vectors(embedder, pb.EmbedRequest(texts=["a b"], dimensions=8, normalize=False))
    (all_of_it,) = await vectors(embedder, pb.EmbedRequest(texts=["a b"], dimensions=1000))
    assert product(cut, cut) == pytest.approx(1)
    assert product(plain, plain) != pytest.approx(1)
    assert product(plain, cut) ** 2 == pytest.approx(product(plain, plain))
    assert len(all_of_it) == 64


async def test_long_texts_are_cut_or_refused(embedder: SimulatorEngine) -> None:
    request = pb.EmbedRequest(texts=["one two three four five"], num_ctx=4)
    response = await before_deadline(embedder.embed(request))
    assert response.prompt_tokens == 4
    whole = await embedder.tokenize(request.texts[0], add_special=True)
    assert response.truncated_tokens == len(whole) - 4
    request.truncate = False
    with pytest.raises(ContextExceeded):
        await before_deadline(embedder.embed(request))


async def test_an_empty_text_has_a_vector_too(embedder: SimulatorEngine) -> None:
    response = await before_deadline(embedder.embed(pb.EmbedRequest(texts=[""])))
    assert product(list(response.embeddings[0].values), list(response.embeddings[0].values)) == pytest.approx(
        1
    )
    assert response.prompt_tokens == 0
    assert (await before_deadline(embedder.embed(pb.EmbedRequest()))).embeddings == []


async def test_embedding_takes_time_and_is_counted(embedder: SimulatorEngine) -> None:
    response = await before_deadline(embedder.embed(pb.EmbedRequest(texts=["one two", "three"])))
    assert response.timings.queue_ns > 0
    assert response.timings.prefill_ns > 0
    assert response.timings.decode_ns == 0
    assert embedder.load_report().prefill_tokens_done == response.prompt_tokens
    assert embedder.load_report().running == 0


async def test_cancelled_and_refused_embeddings_hold_nothing() -> None:
    engine = SimulatorEngine(["sim"], replace(STILL, running_limit=1, queue_limit=0), "embed")
    await engine.start()
    task = asyncio.create_task(engine.embed(pb.EmbedRequest(texts=["a"])))
    await until(lambda: engine.load_report().running == 1)
    with pytest.raises(QueueFull):
        await before_deadline(engine.embed(pb.EmbedRequest(texts=["b"])))
    task.cancel()
    await until(task.done)
    assert engine.load_report().running == 0
    await before_deadline(engine.stop())


async def test_a_worker_generates_or_embeds(embedder: SimulatorEngine) -> None:
    assert embedder.model().capabilities == pb.Capabilities(embedding=True)
    with pytest.raises(CapabilityMissing, match="cannot generate"):
        await answer(embedder, prompt_request())
    async with running(FAST) as generator:
        with pytest.raises(CapabilityMissing, match="cannot make embeddings"):
            await before_deadline(generator.embed(pb.EmbedRequest(texts=["a"])))
