"""SGLang as reranker and classifier: a tiny BERT against `transformers`, and SmolLM2 asked yes or no."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import httpx
import pytest

from drover.errors import CapabilityMissing, ContextExceeded
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.classification import softmax
from engine_worker.engines.reranking import sigmoid
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import ROOT, SMALL_CACHE, Process, frontend, sglang_python, worker
from tests.support.tiny_bert import CLASSES, POSITIONS, TinyBert, ids_of, weights

QUERY = "what do sheep eat"
DOCUMENTS = [
    "sheep graze on the hill",
    "a dog runs at night",
    "grass",
    "the river flows to the sea",
    "sheep eat grass",
]
LONG = "sheep graze on the hill " * 40
_TOLERANCE = 1e-3
_TASKS = {"rerank": 1, "classify": len(CLASSES)}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By task."""
    folder = tmp_path_factory.mktemp("models")
    for task, labels in _TASKS.items():
        _tiny_bert(str(folder / task), str(labels))
    return {task: folder / task for task in _TASKS}


def _tiny_bert(*arguments: str, given: str = "") -> str:
    done = subprocess.run(
        [sglang_python(), "-m", "tests.support.tiny_bert", *arguments],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        input=given,
        timeout=300,
    )
    return done.stdout


def _transformers(folder: Path, *pairs: tuple[str, ...]) -> list[list[float]]:
    rows = json.loads(_tiny_bert(str(folder), given=json.dumps(pairs)))
    assert isinstance(rows, list)
    return rows


@pytest.fixture(scope="module")
def reranker(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    flags = ("--engine", "sglang", "--model", str(models["rerank"]), "--task", "rerank", SMALL_CACHE)
    with worker(tmp_path_factory.mktemp("reranker") / "worker.log", *flags, "--name", "ranker") as process:
        yield process


@pytest.fixture
async def engine(reranker: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(reranker.address) as client:
        yield client


async def test_its_capabilities(engine: EngineClient) -> None:
    model = await engine.stub.GetModel(pb.GetModelRequest())
    can = model.capabilities
    assert (can.rerank, can.classify, can.embedding, can.completion) == (True, False, False, False)
    assert model.context_length == POSITIONS


async def test_raw_scores_are_those_of_transformers(models: dict[str, Path], engine: EngineClient) -> None:
    """Documents of different lengths, which SGLang computes in one batch."""
    expected = [row[0] for row in _transformers(models["rerank"], *((QUERY, each) for each in DOCUMENTS))]
    numpys = TinyBert(weights(1))
    assert expected == pytest.approx([numpys.logits(QUERY, each)[0] for each in DOCUMENTS], abs=_TOLERANCE)

    answer = await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=DOCUMENTS, raw=True))
    assert list(answer.scores) == pytest.approx(expected, abs=_TOLERANCE)
    words = sum(len(f"{QUERY} {document}".split()) for document in DOCUMENTS)
    assert answer.prompt_tokens == words + 3 * len(DOCUMENTS)


async def test_the_second_text_that_begins_alike_has_numbers_of_its_own(engine: EngineClient) -> None:
    """Tokens of an encoder see those that follow, so that no prefix may come from a cache."""
    model = TinyBert(weights(1))
    for document in ("sheep graze", "sheep graze on the hill", "sheep graze in the valley at night"):
        answer = await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=[document], raw=True))
        assert answer.scores[0] == pytest.approx(float(model.logits(QUERY, document)[0]), abs=_TOLERANCE)


async def test_a_pair_as_long_as_the_model_takes(engine: EngineClient) -> None:
    """More tokens than a step has on a CPU: an encoder cannot be prefilled in parts."""
    words = (LONG.split() * 2)[: POSITIONS - 3 - len(QUERY.split())]
    whole = await engine.stub.Rerank(
        pb.RerankRequest(queries=[QUERY], documents=[" ".join(words)], raw=True, truncate=False)
    )
    expected = float(TinyBert(weights(1)).logits(QUERY, " ".join(words))[0])
    assert whole.prompt_tokens == POSITIONS
    assert whole.scores[0] == pytest.approx(expected, abs=_TOLERANCE)

    cut = await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=[LONG * 2], raw=True))
    assert cut.prompt_tokens == POSITIONS
    assert cut.scores[0] == pytest.approx(expected, abs=_TOLERANCE)
    # Of what was not read, the number of tokens is an estimate.
    assert cut.truncated_tokens == pytest.approx(len((LONG * 2).split()) - len(words), rel=0.05)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=[LONG], truncate=False))
    assert isinstance(error_from_status(failed.value), ContextExceeded)


async def test_many_requests_at_the_same_time(engine: EngineClient) -> None:
    requests = [
        pb.RerankRequest(queries=[query], documents=DOCUMENTS * 4)
        for query in (QUERY, "who keeps the flock", "red car", "warm wool")
    ]
    alone = [list((await engine.stub.Rerank(request)).scores) for request in requests]
    together = await asyncio.gather(*(engine.stub.Rerank(request) for request in requests))
    for one, other in zip(alone, together, strict=True):
        assert list(other.scores) == pytest.approx(one, abs=_TOLERANCE)


async def test_it_does_nothing_else(engine: EngineClient) -> None:
    for call in (
        engine.stub.Embed(pb.EmbedRequest(texts=["x"])),
        engine.stub.Classify(pb.ClassifyRequest(inputs=[pb.ClassifyInput(text="x")])),
        engine.text(pb.GenerateRequest(raw="x")),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await call
        assert isinstance(error_from_status(failed.value), CapabilityMissing)


def test_over_http(reranker: Process, tmp_path: Path) -> None:
    model = TinyBert(weights(1))
    scores = [sigmoid(float(model.logits(QUERY, document)[0])) for document in DOCUMENTS]
    best = sorted(range(len(DOCUMENTS)), key=lambda index: -scores[index])
    with frontend(tmp_path / "frontend.log", [reranker.address]) as front:
        body = {"query": QUERY, "documents": DOCUMENTS}
        answer = httpx.post(f"http://{front.address}/v1/rerank", json=body, timeout=60).json()
        shown = httpx.post(f"http://{front.address}/api/show", json={"model": "ranker"}).json()
    assert [each["index"] for each in answer["results"]] == best
    assert [each["relevance_score"] for each in answer["results"]] == pytest.approx(
        [scores[index] for index in best], abs=_TOLERANCE
    )
    assert shown["capabilities"] == ["rerank"]


async def test_classes(models: dict[str, Path], tmp_path: Path) -> None:
    texts = ["sheep graze on the hill", "grass"]
    expected = [softmax(row) for row in _transformers(models["classify"], *((text,) for text in texts))]
    flags = ("--engine", "sglang", "--model", str(models["classify"]), "--task", "classify", SMALL_CACHE)
    with worker(tmp_path / "worker.log", *flags) as process:
        async with engine_client(process.address) as engine:
            can = (await engine.stub.GetModel(pb.GetModelRequest())).capabilities
            answer = await engine.stub.Classify(
                pb.ClassifyRequest(inputs=[pb.ClassifyInput(text=text) for text in texts])
            )
            # As the tokenizer reads it: with the tokens around it.
            ids = [2, *ids_of(texts[0]), 3]
            of_ids = await engine.stub.Classify(
                pb.ClassifyRequest(inputs=[pb.ClassifyInput(tokens=pb.TokenIds(ids=ids))])
            )
            cut = await engine.stub.Classify(pb.ClassifyRequest(inputs=[pb.ClassifyInput(text=LONG)]))
    assert (can.rerank, can.classify) == (False, True)
    rows = [list(each.probabilities) for each in answer.classifications]
    for row, wanted in zip(rows, expected, strict=True):
        assert row == pytest.approx(wanted, abs=_TOLERANCE)
    assert list(answer.labels) == list(CLASSES)
    assert list(of_ids.classifications[0].probabilities) == pytest.approx(expected[0], abs=_TOLERANCE)
    assert (cut.prompt_tokens, len(cut.classifications)) == (POSITIONS, 1)


async def test_a_generating_model_with_a_rerankers_template_reranks(tmp_path: Path) -> None:
    """SmolLM2 is no reranker: this shows the way of the numbers only."""
    template = ROOT / "tests" / "support" / "yes_or_no.jinja"
    flags = ("--engine", "sglang", "--chat-template", str(template), SMALL_CACHE)
    source = template.read_text()
    with worker(tmp_path / "worker.log", *flags) as process:
        async with engine_client(process.address) as engine:
            can = (await engine.stub.GetModel(pb.GetModelRequest())).capabilities
            answer = await engine.stub.Rerank(pb.RerankRequest(queries=[QUERY], documents=DOCUMENTS))
            judged = await engine.stub.Rerank(
                pb.RerankRequest(queries=[QUERY], documents=DOCUMENTS, instruction="Of sheep only.")
            )
            raw = (
                source.replace('{{ instruct | default("The query is of a web search.") }}', "Of sheep only.")
                .replace("{{ messages[0].content }}", QUERY)
                .replace("{{ messages[1].content }}", DOCUMENTS[0])
            )
            item = pb.ScoreItem(raw=raw.removesuffix("\n"), labels=["yes", "no"])
            scored = await engine.stub.Score(pb.ScoreRequest(request_id="s", items=[item]))
    assert (can.rerank, can.completion) == (True, True)
    assert all(0 < score < 1 for score in answer.scores)
    assert list(judged.not_honoured) == []
    assert list(judged.scores) != list(answer.scores)
    yes, no = scored.results[0].logprobs
    assert judged.scores[0] == pytest.approx(sigmoid(yes - no), abs=0.01)


@pytest.mark.parametrize(
    ("task", "of", "message"),
    [("rerank", "classify", "this model has 3 classes"), ("classify", "rerank", "this model has one class")],
)
def test_a_model_that_does_not_fit_the_task_stops_the_start(
    models: dict[str, Path], tmp_path: Path, task: str, of: str, message: str
) -> None:
    flags = ("--engine", "sglang", "--model", str(models[of]), "--task", task, SMALL_CACHE)
    with pytest.raises(AssertionError), worker(tmp_path / "worker.log", *flags):
        pass
    assert message in (tmp_path / "worker.log").read_text()
