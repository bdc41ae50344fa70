"""A request's numbers before an engine sees them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.errors import ContextExceeded, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.option_ranges import BOUNDS as LLAMACPP
from engine_worker.engines.option_ranges import Bounds
from engine_worker.engines.sglang.option_ranges import BOUNDS as SGLANG
from engine_worker.engines.simulator.option_ranges import BOUNDS as SIMULATOR

_ENGINES = [LLAMACPP, SGLANG, SIMULATOR]
_MODEL = pb.Model(context_length=100)
_FLOATS = [
    "temperature",
    "top_p",
    "min_p",
    "typical_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
]
_INTEGERS = ["top_k", "repeat_last_n"]

every_engine = pytest.mark.parametrize("bounds", _ENGINES, ids=["llamacpp", "sglang", "simulator"])


def _apply(bounds: Bounds, **sampling: object) -> tuple[pb.Sampling, list[str]]:
    request = pb.GenerateRequest(sampling=pb.Sampling(**sampling))  # type: ignore[arg-type]  # mypy cannot type fields in **
    changed = bounds.apply(request, _MODEL)
    return request.sampling, changed


@every_engine
def test_every_number_of_sampling_has_a_range(bounds: Bounds) -> None:
    assert set(bounds.sampling) == {*_FLOATS, *_INTEGERS}


@every_engine
@given(name=st.sampled_from(_FLOATS), value=st.floats(width=32, allow_nan=False))
def test_no_float_leaves_its_range(bounds: Bounds, name: str, value: float) -> None:
    sampling, _ = _apply(bounds, **{name: value})
    edges = bounds.sampling[name]

    sent = getattr(sampling, name)
    assert edges.least <= sent <= edges.most
    assert name != "temperature" or sent == 0 or sent > 1e-4


@every_engine
@given(name=st.sampled_from(_INTEGERS), value=st.integers(-(2**31), 2**31 - 1))
def test_no_integer_leaves_its_range(bounds: Bounds, name: str, value: int) -> None:
    sampling, changed = _apply(bounds, **{name: value})
    edges = bounds.sampling[name]

    assert edges.least <= getattr(sampling, name) <= edges.most
    assert changed == []


@every_engine
@given(bias=st.floats(width=32, allow_nan=False))
def test_no_bias_leaves_its_range(bounds: Bounds, bias: float) -> None:
    sampling, changed = _apply(bounds, logit_bias={7: bias, 8: 1.0})

    assert -100 <= sampling.logit_bias[7] <= 100
    assert sampling.logit_bias[8] == 1
    assert (changed == ["logit_bias"]) is (abs(bias) > 100)


@every_engine
@pytest.mark.parametrize("name", _FLOATS)
def test_nan_is_refused(bounds: Bounds, name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"{name} is NaN"):
        _apply(bounds, **{name: math.nan})


@every_engine
def test_a_bias_that_is_no_number_is_refused(bounds: Bounds) -> None:
    with pytest.raises(InvalidRequest, match="logit_bias of token 3 is NaN"):
        _apply(bounds, logit_bias={3: math.nan})


@every_engine
@pytest.mark.parametrize(
    ("name", "value", "sent", "changed"),
    [
        ("temperature", -1, 0, []),
        ("temperature", 1e-6, 0, []),
        ("temperature", math.inf, 100, ["temperature"]),
        ("top_k", -7, 0, []),
        ("top_p", 7, 1, []),
        ("min_p", -1, 0, []),
        ("repeat_penalty", 0, 1, []),
        ("repeat_penalty", -3, 1, []),
        ("repeat_last_n", -9, -1, []),
    ],
)
def test_a_value_beyond_its_edge_becomes_the_edge(
    bounds: Bounds, name: str, value: float, sent: float, changed: list[str]
) -> None:
    sampling, names = _apply(bounds, **{name: value})

    assert (getattr(sampling, name), names) == (sent, changed)


@pytest.mark.parametrize(("bounds", "most"), [(LLAMACPP, 100), (SGLANG, 2)])
@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
def test_penalties_are_clamped_and_named(bounds: Bounds, most: float, name: str) -> None:
    assert _apply(bounds, **{name: 1e9}) == (pb.Sampling(**{name: most}), [name])  # type: ignore[arg-type]  # mypy cannot type fields in **
    assert _apply(bounds, **{name: -most}) == (pb.Sampling(**{name: -most}), [])  # type: ignore[arg-type]  # mypy cannot type fields in **


@every_engine
def test_absent_numbers_stay_absent(bounds: Bounds) -> None:
    assert _apply(bounds, seed=-1, max_tokens=2**32 - 1) == (pb.Sampling(seed=-1, max_tokens=2**32 - 1), [])


@every_engine
@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (pb.GenerateRequest(top_logprobs=21), "top_logprobs must be between 0 and 20"),
        (
            pb.GenerateRequest(sampling=pb.Sampling(logit_bias=dict.fromkeys(range(1025), 1.0))),
            "logit_bias: 1025 are too many",
        ),
        (pb.GenerateRequest(sampling=pb.Sampling(stop=["x"] * 257)), "stop: 257 texts are too many"),
        (
            pb.GenerateRequest(sampling=pb.Sampling(stop=["x" * 1025])),
            "a text of 1025 characters is too long",
        ),
        (
            pb.GenerateRequest(continuation=pb.Continuation(timings=pb.Timings(decode_ns=2**63 - 1))),
            "decode_ns is 9223372036854775807",
        ),
        (
            pb.GenerateRequest(continuation=pb.Continuation(timings=pb.Timings(queue_ns=-1))),
            "queue_ns is -1",
        ),
        (pb.GenerateRequest(continuation=pb.Continuation(produced_ids=[1])), "prompt_ids is empty"),
    ],
)
def test_values_without_a_nearest_valid_one_are_refused(
    bounds: Bounds, request_: pb.GenerateRequest, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        bounds.apply(request_, _MODEL)


@every_engine
def test_a_continuation_is_no_longer_than_the_context(bounds: Bounds) -> None:
    earlier = pb.Continuation(prompt_ids=range(60), produced_ids=range(40))
    assert bounds.apply(pb.GenerateRequest(continuation=earlier), _MODEL) == []
    earlier.produced_ids.append(1)
    with pytest.raises(ContextExceeded, match="101 tokens"):
        bounds.apply(pb.GenerateRequest(continuation=earlier), _MODEL)
