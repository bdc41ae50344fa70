"""Sampling parameters that a GGUF recommends."""

from __future__ import annotations

import logging
import math

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.gguf_sampling import recommended_sampling
from engine_worker.engines.llamacpp.request import GenerationLimits, completion_body
from engine_worker.prompt.window import Window


def test_parameters_with_an_ollama_option_become_the_models_defaults() -> None:
    values: dict[str, object] = {
        "general.sampling.temp": 1,
        "general.sampling.top_k": 20,
        "general.sampling.top_p": 0.5,
        "general.sampling.min_p": 0.25,
        "general.sampling.penalty_repeat": 1.5,
        "general.sampling.penalty_last_n": -1,
        "general.name": "x",
    }
    assert recommended_sampling(values) == pb.Sampling(
        temperature=1, top_k=20, top_p=0.5, min_p=0.25, repeat_penalty=1.5, repeat_last_n=-1
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mirostat", 2),
        ("xtc_probability", 0.5),
        ("sequence", "temperature;top_k"),
        ("temp", "hot"),
        ("temp", math.nan),
        ("top_k", 0.5),
        ("top_k", 2**40),
        ("top_k", True),
        ("top_p", None),
    ],
)
def test_other_parameters_and_invalid_values_are_ignored_with_a_warning(
    caplog: pytest.LogCaptureFixture, name: str, value: object
) -> None:
    with caplog.at_level(logging.WARNING):
        assert recommended_sampling({f"general.sampling.{name}": value}) == pb.Sampling()
    assert f"general.sampling.{name}" in caplog.text


def test_each_request_sends_neutral_sampling() -> None:
    window = Window(size=50, truncate=True, shift=True, num_keep=0)
    body = completion_body(pb.GenerateRequest(), [1], 0, GenerationLimits(window, room=10))
    assert (body["mirostat"], body["xtc_probability"]) == (0, 0.0)
    assert body["samplers"].index("top_k") < body["samplers"].index("temperature")  # type: ignore[attr-defined]  # JSON values are objects
