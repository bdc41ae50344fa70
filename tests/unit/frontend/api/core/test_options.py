"""`options`: precedence, and values of the wrong type."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drover.errors import DroverError, InvalidOption
from drover.ollama_options import ollama_defaults
from drover.v1 import engine_pb2 as pb
from frontend.api.core.go_json import Json, loads
from frontend.api.core.options import Options
from tests.fakes.transcripts import Exchange, on

_CONTEXT = 4096
_INTEGERS = ["top_k", "repeat_last_n", "seed", "num_predict", "num_ctx", "num_keep", "num_batch"]
_INTEGERS += ["num_gpu", "main_gpu", "num_thread", "draft_num_predict"]
_FLOATS = ["temperature", "top_p", "min_p", "typical_p", "repeat_penalty", "presence_penalty"]
_FLOATS += ["frequency_penalty"]


def _sampling(options: dict[str, Json], defaults: pb.Sampling | None = None, most: int = 0) -> pb.Sampling:
    return Options.read(options).sampling_for(defaults or pb.Sampling(), _CONTEXT, most)


def _options_of(exchange: Exchange) -> dict[str, Json]:
    body = loads(exchange.body) if exchange.body.startswith(b'{"') else None
    options = body.get("options") if isinstance(body, dict) else None
    return options if isinstance(options, dict) else {}


@pytest.mark.parametrize("exchange", [each for each in on("/api/chat") if _options_of(each)], ids=str)
def test_recorded_options_are_accepted_or_refused_in_ollamas_words(exchange: Exchange) -> None:
    if exchange.status == 500 and exchange.error().startswith("option "):
        with pytest.raises(InvalidOption) as refused:
            Options.read(_options_of(exchange))
        assert refused.value.message == exchange.error()
    else:
        Options.read(_options_of(exchange))


def test_ollamas_defaults_apply_without_options() -> None:
    sampling = _sampling({})

    expected = ollama_defaults()
    expected.max_tokens = 10 * _CONTEXT
    assert sampling == expected
    assert sampling.temperature == pytest.approx(0.8)
    assert (sampling.top_k, sampling.seed, sampling.repeat_last_n) == (40, -1, 64)
    assert sampling.top_p == pytest.approx(0.9)


def test_a_requests_options_override_the_models_defaults() -> None:
    defaults = pb.Sampling(temperature=0.25, top_k=7)

    assert _sampling({}, defaults).temperature == 0.25
    sampling = _sampling({"temperature": 0}, defaults)
    assert sampling.temperature == 0
    assert sampling.top_k == 7
    assert defaults == pb.Sampling(temperature=0.25, top_k=7)


def test_null_options_are_unset() -> None:
    assert _sampling(dict.fromkeys([*_INTEGERS, *_FLOATS, "stop", "use_mmap"])) == _sampling({})


def test_options_of_a_workers_start_are_reported() -> None:
    options = Options.read({"num_batch": 1, "use_mmap": False, "num_gpu": None, "seed": 1, "main_gpu": 0})

    assert options.ignored == ["num_batch", "use_mmap", "main_gpu"]
    assert Options.read({"num_thread": 2, "draft_num_predict": 3, "num_gpu": 1}).ignored == [
        "num_thread",
        "draft_num_predict",
        "num_gpu",
    ]


def test_unknown_options_have_no_effect() -> None:
    options = Options.read({"mirostat": [1], "Temperature": 1, "temperature": 0.5})

    assert options == Options(sampling=pb.Sampling(temperature=0.5))


@pytest.mark.parametrize(("num_ctx", "names"), [(8192, ["num_gpu", "num_ctx"]), (4096, ["num_gpu"])])
def test_more_context_than_the_model_has_is_not_honoured(num_ctx: int, names: list[str]) -> None:
    options = Options.read({"num_ctx": num_ctx, "num_gpu": 1})

    assert options.not_honoured(4096) == names


@pytest.mark.parametrize("name", _INTEGERS)
@pytest.mark.parametrize("value", ["1", True, [], {}, float("nan")])
def test_invalid_integers_are_refused(name: str, value: Json) -> None:
    with pytest.raises(InvalidOption, match=f'^option "{name}" must be of type integer$'):
        Options.read({name: value})


@pytest.mark.parametrize("name", _FLOATS)
@pytest.mark.parametrize("value", ["1", True, [], {}])
def test_invalid_numbers_are_refused(name: str, value: Json) -> None:
    with pytest.raises(InvalidOption, match=f'^option "{name}" must be of type float32$'):
        Options.read({name: value})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stop": "x"}, 'option "stop" must be of type array'),
        ({"stop": {}}, 'option "stop" must be of type array'),
        ({"stop": ["a", 1]}, 'option "stop" must be of an array of strings'),
        ({"stop": [None]}, 'option "stop" must be of an array of strings'),
        ({"use_mmap": 1}, 'option "use_mmap" must be of type boolean'),
    ],
)
def test_options_of_other_types(options: dict[str, Json], message: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        Options.read(options)

    assert refused.value.message == message


def test_fractions_are_truncated_to_integers() -> None:
    assert _sampling({"top_k": 3.9, "seed": -2.5}).top_k == 3
    assert _sampling({"seed": -2.5}).seed == -2


@pytest.mark.parametrize("huge", [10**30, 1e300, float("inf")])
def test_integers_out_of_range_are_clamped(huge: float) -> None:
    sampling = _sampling({"top_k": huge, "repeat_last_n": -huge, "seed": huge})

    assert sampling.top_k == 2**31 - 1
    assert sampling.repeat_last_n == -(2**31 - 1)
    assert sampling.seed == 2**63 - 1


@pytest.mark.parametrize(
    "huge", [math.inf, -math.inf, 1e300, 10**400], ids=["inf", "-inf", "1e300", "10**400"]
)
def test_numbers_out_of_range_are_clamped(huge: float) -> None:
    for name in _FLOATS:
        try:
            sampling = _sampling({name: huge})
        except DroverError as error:
            assert name in error.message  # noqa: PT017
        else:
            assert math.isfinite(getattr(sampling, name))


@pytest.mark.parametrize("num_predict", [-1, -2, 0, -(10**30), None])
def test_no_limit_is_ten_times_the_context(num_predict: int | None) -> None:
    assert _sampling({"num_predict": num_predict}).max_tokens == 10 * _CONTEXT
    limited = pb.Sampling(max_tokens=5)
    expected = 5 if num_predict is None else 10 * _CONTEXT
    assert _sampling({"num_predict": num_predict}, limited).max_tokens == expected


def test_the_smallest_limit_applies() -> None:
    assert _sampling({"num_predict": 5}).max_tokens == 5
    assert _sampling({"num_predict": 10**30}).max_tokens == 10 * _CONTEXT
    assert _sampling({"num_predict": 5}, pb.Sampling(max_tokens=3)).max_tokens == 5
    assert _sampling({"num_predict": 5}, most=4).max_tokens == 4
    assert _sampling({}, most=4).max_tokens == 4
    assert _sampling({"num_ctx": 100}).max_tokens == 1000


@pytest.mark.parametrize("num_ctx", [1, 0, -5])
def test_a_context_is_at_least_four_tokens_also_for_the_limit(num_ctx: int) -> None:
    assert _sampling({"num_ctx": num_ctx}).max_tokens >= 40
    options = Options.read({"num_ctx": num_ctx})
    assert (options.num_ctx, options.window) == (num_ctx, 4)


def test_a_requests_stop_texts_replace_the_models() -> None:
    defaults = pb.Sampling(stop=["</s>"])

    assert list(_sampling({}, defaults).stop) == ["</s>"]
    assert list(_sampling({"stop": ["a", "", "b"]}, defaults).stop) == ["a", "b"]
    assert list(_sampling({"stop": []}, defaults).stop) == []


NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=False))


@given(st.dictionaries(st.sampled_from(_INTEGERS), NUMBERS), st.integers(0, 2**40))
def test_any_integers_give_a_sampling_with_a_limit(options: dict[str, Json], most: int) -> None:
    assert 1 <= _sampling(options, most=most).max_tokens <= 2**32 - 1
