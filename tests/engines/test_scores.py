"""Scores of labels: the model's own log probabilities over the whole vocabulary, and a shared prefix."""

from __future__ import annotations

import asyncio
import math

import grpc
import pytest

from drover.errors import CapabilityMissing, ContextExceeded, DroverError, InvalidRequest
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from tests.engines.conftest import FLAGS, SENTENCEPIECE
from tests.support.engine_client import EngineClient
from tests.support.waiting import until

pytestmark = pytest.mark.real_model
_REAL = sorted({*FLAGS} - {"simulator", SENTENCEPIECE})
of_smollm2 = pytest.mark.parametrize("engine_process", _REAL, indirect=True)
not_sentencepiece = pytest.mark.parametrize(
    "engine_process", sorted({*FLAGS} - {SENTENCEPIECE}), indirect=True
)

# Steps of other sizes and other kernels change the last digits. llama.cpp's weights have four bits, so its
# numbers are those of another model: far apart, but with the same order of labels.
TOLERANCE = {"sglang": 2e-3, "llamacpp": 1.0}
_STATE = "Customer: I was charged twice and want my money back."
_YES_NO = "Is the following true? The customer asks for a refund.\nAnswer with yes or no only."
_CHOICE = (
    "Question: Which team should answer?\nA: billing - payments and refunds\nB: shipping - parcels\n"
    "C: sales\nAnswer with the letter of one option only."
)
_SCORE = (
    "Question: How urgent is it?\n0: can wait\n1: soon\n2: now\nAnswer with the number of one level only."
)
# Computed with transformers in 32-bit floats: labels, prompt tokens, label ids, log probabilities.
GOLDENS = [
    (_YES_NO, ["yes", "no"], 43, [10407, 4607], [-4.4283, -5.4759]),
    (_CHOICE, ["A", "B", "C"], 59, [49, 50, 51], [-2.6547, -0.8326, -2.2070]),
    (_SCORE, ["0", "1", "2"], 53, [32, 33, 34], [-3.6536, -1.4011, -2.3991]),
]


def _item(question: str, *labels: str, state: str = _STATE) -> pb.ScoreItem:
    item = pb.ScoreItem(labels=labels)
    item.chat.messages.add(role="user", content=f"{state}\n\n{question}")
    return item


async def _error(engine: EngineClient, request: pb.ScoreRequest) -> DroverError:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await engine.stub.Score(request)
    return error_from_status(refused.value)


@of_smollm2
async def test_known_questions_have_known_scores(engine: EngineClient, model: pb.Model) -> None:
    request = pb.ScoreRequest(items=[_item(question, *labels) for question, labels, *_ in GOLDENS])
    response = await engine.stub.Score(request)
    for result, (_, _, prompt_tokens, label_ids, logprobs) in zip(response.results, GOLDENS, strict=True):
        assert result.prompt_tokens == prompt_tokens
        assert list(result.label_ids) == label_ids
        assert list(result.logprobs) == pytest.approx(logprobs, abs=TOLERANCE[model.engine_kind])
        order = sorted(label_ids, key=dict(zip(label_ids, logprobs, strict=True)).__getitem__)
        assert sorted(label_ids, key=dict(zip(label_ids, result.logprobs, strict=True)).__getitem__) == order
    assert response.prompt_tokens == sum(prompt_tokens for _, _, prompt_tokens, *_ in GOLDENS)


@of_smollm2
async def test_a_score_is_the_log_probability_of_generating_the_label(engine: EngineClient) -> None:
    scored = (await engine.stub.Score(pb.ScoreRequest(items=[_item(_CHOICE, "A", "B", "C")]))).results[0]
    request = pb.GenerateRequest(sampling=pb.Sampling(max_tokens=1, temperature=0.0), top_logprobs=20)
    request.chat.messages.add(role="user", content=f"{_STATE}\n\n{_CHOICE}")
    events = [event async for event in engine.generate(request)]
    (logprob,) = [each for event in events for delta in event.deltas for each in delta.logprobs]
    generated = {other.token_id: other.logprob for other in logprob.top}
    assert [generated[token] for token in scored.label_ids] == pytest.approx(list(scored.logprobs), abs=0.05)


@of_smollm2
async def test_unlikely_labels_have_exact_scores_too(engine: EngineClient) -> None:
    """The whole vocabulary adds up to 1: what the most likely tokens leave is what all others have."""
    size = 49152
    items = [
        pb.ScoreItem(raw="The capital of France is", label_ids=range(at, at + 1024))
        for at in range(0, size, 1024)
    ]
    response = await engine.stub.Score(pb.ScoreRequest(items=items))
    logprobs = [logprob for result in response.results for logprob in result.logprobs]
    assert len(logprobs) == size
    assert math.fsum(map(math.exp, logprobs)) == pytest.approx(1, abs=1e-3)
    assert min(logprobs) < -15


@not_sentencepiece
async def test_questions_about_one_state_share_its_prefill(engine: EngineClient) -> None:
    state = "The customer wrote to us on Monday about the order and was charged twice for it. " * 12
    labels = ["A", "B"]
    items = [
        _item(f"Question {number}: is it so?\nA: it is\nB: it is not", *labels, state=state)
        for number in range(64)
    ]
    response = await engine.stub.Score(pb.ScoreRequest(items=items, cache_salt="of this test"))
    of_state = len((await engine.stub.Tokenize(pb.TokenizeRequest(text=state))).ids)
    of_questions = response.prompt_tokens - 64 * of_state
    computed = response.prompt_tokens - response.cached_tokens
    assert of_state > 150
    assert computed <= 3 * (of_state + of_questions)
    assert response.cached_tokens >= 60 * of_state


async def test_label_ids_give_what_labels_give(engine: EngineClient, model: pb.Model) -> None:
    if not model.capabilities.decision:
        labels: tuple[str, ...] = ("a",)
    else:
        labels = ("yes", "no", "Z", "9")
    by_text = pb.ScoreItem(raw="Is it so?\n", labels=labels)
    first = (await engine.stub.Score(pb.ScoreRequest(items=[by_text]))).results[0]
    by_id = pb.ScoreItem(raw="Is it so?\n", label_ids=first.label_ids)
    again = (await engine.stub.Score(pb.ScoreRequest(items=[by_id]))).results[0]
    assert list(again.logprobs) == pytest.approx(list(first.logprobs), abs=0.05)


@not_sentencepiece
async def test_models_with_a_token_for_every_label_can_decide(model: pb.Model) -> None:
    assert model.capabilities.decision


async def test_what_cannot_be_scored_is_refused(engine: EngineClient) -> None:
    assert isinstance(await _error(engine, pb.ScoreRequest()), InvalidRequest)
    no_token = pb.ScoreRequest(items=[pb.ScoreItem(raw="x\n", labels=["not one token at all"])])
    assert isinstance(await _error(engine, no_token), CapabilityMissing)
    no_id = pb.ScoreRequest(items=[pb.ScoreItem(raw="x\n", label_ids=[2**32 - 1])])
    assert isinstance(await _error(engine, no_id), InvalidRequest)
    too_long = pb.ScoreRequest(items=[pb.ScoreItem(raw="x y " * 600, labels=["A"])])
    error = await _error(engine, too_long)
    assert isinstance(error, ContextExceeded), error


@not_sentencepiece
async def test_a_cancelled_request_holds_nothing(engine: EngineClient) -> None:
    items = [
        _item(f"Question {number}?", "A", "B", state=f"{number} " + "sheep " * 100) for number in range(200)
    ]
    call = engine.stub.Score(pb.ScoreRequest(items=items))
    await until(engine.busy, 20, "it runs")
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await until(engine.idle, 20, "nothing is held")
