"""What a GGUF recommends for sampling."""

from __future__ import annotations

import logging
import math

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.body import completion_body
from engine_worker.engines.llamacpp.gguf_sampling import recommended
from engine_worker.prompt.window import Window


def test_what_ollama_has_an_option_for_becomes_the_models_default() -> None:
    values: dict[str, object] = {
        "general.sampling.temp": 1,
        "general.sampling.top_k": 20,
        "general.sampling.top_p": 0.5,
        "general.sampling.min_p": 0.25,
        "general.sampling.penalty_repeat": 1.5,
        "general.sampling.penalty_last_n": -1,
        "general.name": "x",
    }
    assert recommended(values) == pb.Sampling(
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
def test_the_rest_is_not_used_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture, name: str, value: object
) -> None:
    with caplog.at_level(logging.WARNING):
        assert recommended({f"general.sampling.{name}": value}) == pb.Sampling()
    assert f"general.sampling.{name}" in caplog.text


def test_no_request_gets_the_rest_of_llama_cpps_defaults() -> None:
    window = Window(size=50, truncate=True, shift=True, num_keep=0)
    body = completion_body(pb.GenerateRequest(), [1], 0, window, 10)
    assert (body["mirostat"], body["xtc_probability"]) == (0, 0.0)
    assert body["samplers"].index("top_k") < body["samplers"].index("temperature")  # type: ignore[attr-defined]
