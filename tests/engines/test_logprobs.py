"""Log probabilities are the model's own: the same whatever its tokens are chosen by."""

from __future__ import annotations

import math
from typing import Any

import pytest

from drover.v1 import engine_pb2 as pb
from tests.engines.conftest import FLAGS, SENTENCEPIECE
from tests.support.engine_client import EngineClient

_REAL = sorted({*FLAGS} - {"simulator", SENTENCEPIECE})
pytestmark = [pytest.mark.real_model, pytest.mark.parametrize("engine_process", _REAL, indirect=True)]

_PROMPT = "The capital of France is"
_ALTERNATIVES = 5
# Steps of other sizes, and other neighbours in a batch, change the last digits of logits.
_CLOSE = 0.05


async def _first(
    engine: EngineClient, request: pb.GenerateRequest | None = None, **sampling: object
) -> pb.TokenLogprob:
    request = request or pb.GenerateRequest()
    request.raw = _PROMPT
    request.sampling.MergeFrom(pb.Sampling(max_tokens=1, **sampling))  # type: ignore[arg-type]  # mypy cannot type fields in **
    request.top_logprobs = _ALTERNATIVES
    events = [event async for event in engine.generate(request)]
    (logprob,) = [logprob for event in events for delta in event.deltas for logprob in delta.logprobs]
    return logprob


def _top(logprob: pb.TokenLogprob) -> dict[int, float]:
    return {other.token_id: other.logprob for other in logprob.top}


@pytest.mark.parametrize(
    "sampling",
    [
        {"temperature": 0.3, "seed": 3},
        {"temperature": 1.5, "seed": 3},
        {"temperature": 0.8, "top_k": 2, "top_p": 0.5, "min_p": 0.1, "seed": 1},
        {"temperature": 0.0, "presence_penalty": 2.0, "repeat_penalty": 1.9},
    ],
    ids=str,
)
async def test_sampling_changes_no_log_probability(engine: EngineClient, sampling: dict[str, Any]) -> None:
    greedy = _top(await _first(engine, temperature=0.0))
    assert _top(await _first(engine, **sampling)) == pytest.approx(greedy, abs=_CLOSE)
    assert math.fsum(map(math.exp, greedy.values())) <= 1.01


async def test_a_bias_changes_no_log_probability(engine: EngineClient) -> None:
    greedy = await _first(engine, temperature=0.0)
    unlikely = greedy.top[_ALTERNATIVES - 1]
    biased = await _first(engine, temperature=0.0, logit_bias={unlikely.token_id: 50.0})
    assert biased.token_id == unlikely.token_id
    assert biased.logprob == pytest.approx(unlikely.logprob, abs=_CLOSE)
    assert _top(biased) == pytest.approx(_top(greedy), abs=_CLOSE)


@pytest.mark.parametrize("temperature", [0.0, 0.7])
async def test_a_format_changes_no_log_probability(engine: EngineClient, temperature: float) -> None:
    greedy = await _first(engine, temperature=0.0)
    constrained = await _first(engine, pb.GenerateRequest(any_json=True), temperature=temperature)
    assert constrained.token.strip().startswith(b"{")
    assert -100 < constrained.logprob < greedy.top[_ALTERNATIVES - 1].logprob
    assert _top(constrained) == pytest.approx(_top(greedy), abs=_CLOSE)
