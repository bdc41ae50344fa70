"""Each engine at the edges of its table of bounds, alone and together: it answers, and keeps serving."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.option_ranges import Bounds
from tests.support.chat_requests import chat
from tests.support.engine_client import EngineClient

pytestmark = pytest.mark.real_model

_TOKENS = 6


def _edges(bounds: Bounds) -> Iterator[pb.Sampling]:
    """Each edge alone, at an ordinary temperature and at the smallest; then all of a side at once."""
    coldest = _coldest(bounds)
    for name, each in bounds.sampling.items():
        for edge in (each.least, each.most):
            value = int(edge) if isinstance(each.most, int) else edge
            yield _sampling(**{"temperature": 1.0, name: value})
            yield _sampling(**{"temperature": coldest, name: value})
    for side in ("least", "most"):
        values = {
            name: int(getattr(each, side)) if isinstance(each.most, int) else getattr(each, side)
            for name, each in bounds.sampling.items()
        }
        yield _sampling(**values)
        yield _sampling(**{**values, "temperature": coldest})
    biases = {token: bounds.bias.most if token % 2 else bounds.bias.least for token in range(100, 1124)}
    for temperature in (0.0, coldest, 1.0, bounds.sampling["temperature"].most):
        yield _sampling(temperature=temperature, logit_bias=biases)
    yield _sampling(temperature=1.0, seed=2**63 - 1)
    yield _sampling(temperature=1.0, seed=0)
    yield _sampling(temperature=0.0, stop=[f"{'never there ' * 80}{number}" for number in range(256)])


def _sampling(**values: object) -> pb.Sampling:
    """A field that is named twice counts as it was named last."""
    return pb.Sampling(max_tokens=_TOKENS, ignore_eos=True, **values)  # type: ignore[arg-type]  # mypy cannot type fields in **


def _coldest(bounds: Bounds) -> float:
    replaced = bounds.sampling["temperature"].replaced
    assert replaced is not None
    return replaced[0] * 1.01


async def test_an_engine_survives_the_edges_of_its_bounds(engine: EngineClient, model: pb.Model) -> None:
    bounds: Bounds = import_module(f"engine_worker.engines.{model.engine_kind}.option_ranges").BOUNDS
    question = chat("Tell me about the sea.", max_tokens=12)
    before, _ = await engine.text(question)
    for sampling in _edges(bounds):
        request = pb.GenerateRequest(
            raw="The sea is", sampling=sampling, top_logprobs=20 if model.capabilities.logprobs else None
        )
        _, done = await engine.text(request)
        assert done.completion_tokens == _TOKENS, sampling
    assert (await engine.text(question))[0] == before
    assert await engine.idle()


async def test_a_value_beyond_its_edge_is_named(engine: EngineClient) -> None:
    request = chat("Hi", max_tokens=1, presence_penalty=1000.0)
    events = [event async for event in engine.generate(request)]
    assert "presence_penalty" in events[0].started.not_honoured
