"""Workers that were started to rerank or to classify: a tiny BERT on llama.cpp, whose numbers numpy computes
too, and the simulator.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import grpc
import pytest

from drover.errors import CapabilityMissing, ContextExceeded
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.reranking import sigmoid
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import Process, worker
from tests.support.tiny_bert import POSITIONS, TinyBert, weights
from tests.support.tiny_bert_gguf import write_tiny_bert_gguf
from tests.support.waiting import until

pytestmark = pytest.mark.real_model

QUERY = "what do sheep eat"
DOCUMENTS = [
    "sheep graze on the hill",
    "a dog runs at night",
    "grass",
    "the river flows to the sea",
    "sheep eat grass",
]
# llama.cpp approximates GELU, and computes attention with 16 bits.
_TOLERANCE = 0.01
_LLAMACPP = (
    "--engine",
    "llamacpp",
    "--slots",
    "2",
    "--queue-limit",
    "3",
    "--threads",
    "1",
    "--task",
    "rerank",
)
_SIMULATOR = ("--engine", "simulator", "--model", "sim", "--context-length", str(POSITIONS))


@pytest.fixture(scope="module", params=["llamacpp", "simulator"])
def reranker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp(request.param)
    flags: tuple[str, ...] = (*_SIMULATOR, "--task", "rerank")
    if request.param == "llamacpp":
        write_tiny_bert_gguf(folder / "tiny.gguf")
        flags = (*_LLAMACPP, "--model", str(folder / "tiny.gguf"))
    with worker(folder / "worker.log", *flags) as process:
        yield process


@pytest.fixture
async def engine(reranker: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(reranker.address) as client:
        yield client


async def _is_llamacpp(engine: EngineClient) -> bool:
    return (await engine.stub.GetModel(pb.GetModelRequest())).engine_kind == "llamacpp"


async def test_its_capabilities(engine: EngineClient) -> None:
    can = (await engine.stub.GetModel(pb.GetModelRequest())).capabilities
    assert (can.rerank, can.classify, can.embedding, can.completion) == (True, False, False, False)


async def test_raw_scores_are_those_of_the_weights(engine: EngineClient) -> None:
    """llama.cpp knows one segment: with two, as `transformers` has them, the numbers are others. Of the
    simulator's, those of documents with the query's words are the largest.
    """
    if not await _is_llamacpp(engine):
        answer = await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=DOCUMENTS, raw=True))
        best = sorted(range(len(DOCUMENTS)), key=lambda index: -answer.scores[index])
        assert set(best[:2]) == {0, 4}
        return
    model = TinyBert(weights(1), one_segment=True)
    expected = [float(model.logits(QUERY, document)[0]) for document in DOCUMENTS]
    answer = await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=DOCUMENTS, raw=True))
    assert list(answer.scores) == pytest.approx(expected, abs=_TOLERANCE)
    ranked = sorted(expected)
    assert min(more - less for less, more in pairwise(ranked)) > 2 * _TOLERANCE, "they differ clearly"
    words = sum(len(f"{QUERY} {document}".split()) for document in DOCUMENTS)
    assert answer.prompt_tokens == words + 3 * len(DOCUMENTS)


async def test_scores_are_the_raw_ones_between_0_and_1(engine: EngineClient) -> None:
    request = pb.RerankRequest(queries=[QUERY], documents=DOCUMENTS)
    scores = (await engine.stub.Rerank(request)).scores
    request.raw = True
    raw = (await engine.stub.Rerank(request)).scores
    assert list(scores) == pytest.approx([sigmoid(each) for each in raw], abs=1e-5)
    assert len(set(scores)) == len(DOCUMENTS)


async def test_a_score_does_not_depend_on_its_company(engine: EngineClient) -> None:
    together = (await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=DOCUMENTS))).scores
    for document, score in zip(DOCUMENTS, together, strict=True):
        alone = await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=[document]))
        assert alone.scores[0] == pytest.approx(score, abs=1e-3)


async def test_pairs(engine: EngineClient) -> None:
    queries = [f"{word} sheep" for word in ("the", "a", "red", "fast", "warm")]
    answer = await engine.stub.Rerank(pb.RerankRequest(queries=queries, documents=DOCUMENTS))
    first = await engine.stub.Rerank(pb.RerankRequest(queries=queries[2:3], documents=DOCUMENTS[2:3]))
    assert answer.scores[2] == pytest.approx(first.scores[0], abs=1e-3)


async def test_too_long_is_cut_or_refused(engine: EngineClient) -> None:
    long = "sheep " * 3 * POSITIONS
    cut = await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=["grass", long]))
    assert len(cut.scores) == 2
    assert cut.truncated_tokens > POSITIONS
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=[long], truncate=False))
    assert isinstance(error_from_status(failed.value), ContextExceeded)


async def test_names_of_special_tokens_are_text(engine: EngineClient) -> None:
    """Three tokens each, not one: a document of them is cut where it is too long, and not refused."""
    answer = await engine.stub.Rerank(
        pb.RerankRequest(queries=[QUERY], documents=["[SEP] " * (POSITIONS // 2), "[SEP]"])
    )
    assert len(answer.scores) == 2
    assert answer.truncated_tokens > 0


async def test_many_documents_are_one_request(engine: EngineClient) -> None:
    answer = await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=DOCUMENTS * 20))
    assert len(answer.scores) == 100


async def test_leaving_frees_the_slots(engine: EngineClient) -> None:
    calls = [
        engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=["sheep " * 90] * 200))
        for _ in range(3)
    ]
    await until(engine.busy, 5, "a document is being scored")
    for call in calls:
        call.cancel()
    await until(engine.idle, 10, "the engine is free again")
    answer = await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=["grass"]))
    assert len(answer.scores) == 1


async def test_it_does_nothing_else(engine: EngineClient) -> None:
    for call in (
        engine.stub.Embed(pb.EmbedRequest(texts=["x"])),
        engine.stub.Classify(pb.ClassifyRequest(inputs=[pb.ClassifyInput(text="x")])),
        engine.text(pb.GenerateRequest(raw="x")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert isinstance(error_from_status(failed.value), CapabilityMissing)


async def test_the_simulator_classifies(tmp_path: Path) -> None:
    with worker(tmp_path / "worker.log", *_SIMULATOR, "--task", "classify") as process:
        async with engine_client(process.address) as engine:
            inputs = [pb.ClassifyInput(text="sheep"), pb.ClassifyInput(text="a red car")]
            answer = await engine.stub.Classify(pb.ClassifyRequest(inputs=inputs))
            again = await engine.stub.Classify(pb.ClassifyRequest(inputs=inputs[1:]))
    assert list(answer.labels) == ["negative", "neutral", "positive"]
    assert [sum(each.probabilities) for each in answer.classifications] == pytest.approx([1, 1])
    assert answer.classifications[1] == again.classifications[0]


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [("rerank", 3, "has 3 classes"), ("classify", 3, "take --engine sglang")],
)
def test_a_model_that_does_not_fit_the_task_stops_the_start(
    tmp_path: Path, task: str, labels: int, message: str
) -> None:
    write_tiny_bert_gguf(tmp_path / "tiny.gguf", labels)
    _assert_refused(tmp_path, task, str(tmp_path / "tiny.gguf"), message)


def test_a_model_without_a_classifier_stops_the_start(tmp_path: Path) -> None:
    _assert_refused(tmp_path, "rerank", "", "this model has no classifier")


YES_OR_NO = Path(__file__).parents[1] / "support" / "yes_or_no.jinja"


async def test_a_generating_model_with_a_rerankers_template_reranks(tmp_path: Path) -> None:
    """SmolLM2 is no reranker: this shows the way of the numbers only."""
    flags = ("--engine", "llamacpp", "--slots", "1", "--chat-template", str(YES_OR_NO))
    with worker(tmp_path / "worker.log", *flags) as process:
        async with engine_client(process.address) as engine:
            can = (await engine.stub.GetModel(pb.GetModelRequest())).capabilities
            answer = await engine.stub.Rerank(
                pb.RerankRequest(queries=[QUERY], documents=DOCUMENTS, instruction="judge")
            )
            prompt = await engine.stub.Render(
                pb.RenderRequest(request=pb.GenerateRequest(chat=_pair(QUERY, DOCUMENTS[0])))
            )
            item = pb.ScoreItem(tokens=pb.TokenIds(ids=prompt.ids), labels=["yes", "no"])
            scored = await engine.stub.Score(pb.ScoreRequest(items=[item]))
    assert (can.rerank, can.completion) == (True, True)
    assert "The answer can only be" in prompt.text
    assert f"{QUERY}" in prompt.text
    yes, no = scored.results[0].logprobs
    assert answer.scores[0] == pytest.approx(sigmoid(yes - no), abs=0.02)
    assert all(0 < score < 1 for score in answer.scores)
    assert list(answer.not_honoured) == ["instruction"]


def _pair(query: str, document: str) -> pb.ChatInput:
    messages = [pb.Message(role="user", content=query), pb.Message(role="user", content=document)]
    return pb.ChatInput(messages=messages)


def _assert_refused(folder: Path, task: str, model: str, message: str) -> None:
    log = folder / "worker.log"
    flags = ("--engine", "llamacpp", "--task", task, *(("--model", model) if model else ()))
    with pytest.raises(AssertionError), worker(log, *flags):
        pass
    assert message in log.read_text()
