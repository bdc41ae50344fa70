"""Ollama's PARAMETERs as an operator gives them."""

from __future__ import annotations

import re

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.parameters import read_parameters
from engine_worker.settings import WorkerSettings


def test_an_empty_text_sets_no_parameters() -> None:
    assert read_parameters("") == read_parameters("{}") == pb.Sampling()


def test_each_kind_is_read() -> None:
    text = '{"temperature": 0, "top_k": 40.0, "seed": -1, "num_predict": 5, "stop": ["a", "b"]}'

    assert read_parameters(text) == pb.Sampling(
        temperature=0, top_k=40, seed=-1, max_tokens=5, stop=["a", "b"]
    )
    assert read_parameters('{"stop": "a", "num_predict": -1}') == pb.Sampling(stop=["a"])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "this is not JSON"),
        ("[]", "not a JSON object"),
        ('{"temperature": "hot"}', "'temperature' must be a number (it is 'hot')"),
        ('{"top_k": 1.5}', "'top_k' must be a whole number (it is 1.5)"),
        ('{"top_k": 1e300}', "'top_k' is too large"),
        ('{"top_k": true}', "'top_k' must be a whole number (it is True)"),
        ('{"stop": [1]}', "'stop' must be a list of texts"),
        ('{"num_ctx": 5}', "'num_ctx' is set with --context-length"),
        ('{"wizard": 5}', "'wizard' is not a parameter that can be set here; these can: temperature,"),
    ],
)
def test_an_invalid_parameter_is_named(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        read_parameters(text)


def test_wrong_parameters_stop_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        WorkerSettings.load(['--parameters={"temperature": "hot"}'])

    said = capsys.readouterr().err
    assert "--parameters" in said
    assert "'temperature' must be a number" in said
