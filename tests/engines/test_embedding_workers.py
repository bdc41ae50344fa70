"""Workers that were started for embeddings."""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator, Iterator

import grpc
import pytest

from drover.errors import CapabilityMissing, ContextExceeded
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import SGLANG_PYTHON, Process, worker
from tests.support.waiting import until

pytestmark = pytest.mark.real_model
FLAGS = {
    "llamacpp": ("--engine", "llamacpp", "--context-length", "128", "--slots", "2", "--queue-limit", "3"),
    "simulator": ("--engine", "simulator", "--model", "sim", "--context-length", "128"),
}
if SGLANG_PYTHON in os.environ:
    FLAGS["sglang"] = ("--engine", "sglang", "--context-length", "128", "--slots", "8")


@pytest.fixture(scope="module", params=sorted(FLAGS))
def embedder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp(request.param) / "worker.log"
    with worker(log, *FLAGS[request.param], "--task", "embed") as process:
        yield process


@pytest.fixture
async def engine(embedder: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(embedder.address) as client:
        yield client


def cosine(one: pb.Embedding, other: pb.Embedding) -> float:
    return sum(a * b for a, b in zip(one.values, other.values, strict=True))


async def test_vectors_are_of_unit_length_and_in_order(engine: EngineClient) -> None:
    texts = ["The cat sat on the mat.", "Stock markets fell.", "The cat sat on the mat."]
    answer = await engine.stub.Embed(pb.EmbedRequest(texts=texts))
    first, second, third = answer.embeddings
    assert math.isclose(cosine(first, first), 1, abs_tol=1e-4)
    assert math.isclose(cosine(first, third), 1, abs_tol=1e-3)
    assert cosine(first, second) < 0.999
    assert answer.prompt_tokens > 0


async def test_a_vector_does_not_depend_on_its_company(engine: EngineClient) -> None:
    """Texts of different lengths that are embedded at the same time share engine steps."""
    texts = ["The cat sat on the mat.", "Stock markets fell.", "Yes.", "word " * 60]
    alone = [(await engine.stub.Embed(pb.EmbedRequest(texts=[text]))).embeddings[0] for text in texts]
    for _ in range(5):
        together = (await engine.stub.Embed(pb.EmbedRequest(texts=texts))).embeddings
        for one, other in zip(alone, together, strict=True):
            assert math.isclose(cosine(one, other), 1, abs_tol=1e-3)


async def test_a_batch_is_one_request_however_long(engine: EngineClient) -> None:
    answer = await engine.stub.Embed(pb.EmbedRequest(texts=[f"text {number}" for number in range(40)]))
    assert len(answer.embeddings) == 40


async def test_dimensions_cut_and_normalise_again(engine: EngineClient) -> None:
    answer = await engine.stub.Embed(pb.EmbedRequest(texts=["hello"], dimensions=16))
    assert len(answer.embeddings[0].values) == 16
    assert math.isclose(cosine(answer.embeddings[0], answer.embeddings[0]), 1, abs_tol=1e-4)


async def test_too_long_is_cut_or_refused(engine: EngineClient) -> None:
    long = "word " * 500
    cut = await engine.stub.Embed(pb.EmbedRequest(texts=[long]))
    # Of real models room for BOS and EOS is left, as by Ollama; the simulator has neither.
    assert cut.prompt_tokens in (126, 128)
    whole = await engine.stub.Tokenize(pb.TokenizeRequest(text=long, add_special=True))
    assert cut.truncated_tokens == pytest.approx(len(whole.ids) - cut.prompt_tokens, rel=0.05)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await engine.stub.Embed(pb.EmbedRequest(texts=["short", long], truncate=False))
    assert isinstance(error_from_status(failed.value), ContextExceeded)


async def test_an_empty_text_in_a_list_is_one_of_the_texts(engine: EngineClient) -> None:
    answer = await engine.stub.Embed(pb.EmbedRequest(texts=["The cat sat on the mat.", ""]))
    assert [math.isclose(cosine(each, each), 1, abs_tol=1e-4) for each in answer.embeddings] == [True, True]


async def test_leaving_frees_the_slot_when_the_text_is_done(engine: EngineClient) -> None:
    """Also of requests that wait. The worker keeps serving."""
    calls = [engine.stub.Embed(pb.EmbedRequest(texts=["word " * 120] * 4)) for _ in range(4)]
    await until(engine.busy, 5, "a text is being embedded")
    for call in calls:
        call.cancel()
    await until(engine.idle, 10, "the engine is free again")
    assert len((await engine.stub.Embed(pb.EmbedRequest(texts=["Yes."]))).embeddings) == 1


async def test_generating_is_refused(engine: EngineClient) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await engine.text(pb.GenerateRequest(raw="x"))
    assert isinstance(error_from_status(failed.value), CapabilityMissing)
    model = await engine.stub.GetModel(pb.GetModelRequest())
    assert (model.capabilities.embedding, model.capabilities.completion) == (True, False)
