"""Embeddings.

| line | asserted by |
|---|---|
| `dimensions` cut and normalise again; order of many | test_embed::test_one_text_and_many, …dimensions… |
| the older route normalises too | test_embed::test_the_older_route_gives_the_same_vector |
| a model that does not embed: 501 and 500 | transcripts "embed", "embeddings" |
| NaN and Inf | tests/unit/frontend/api/test_embeddings.py (no engine here makes any) |

Not here: names that match in their case only (the older route; ours finds them in any, as all others do:
test_embed::test_names_match_in_any_case_and_are_echoed).
"""

from __future__ import annotations

import math
from typing import Any

import httpx
import pytest

from tests.contract.ollama_requests import JSON, answered, ask, assert_refused

_LONG = "sheep " * 300
_TOO_LONG = "the input length exceeds the context length"
_MODELS = ("vectors", "gguf-vectors")


def _embed(http: httpx.Client, model: str = "vectors", **body: object) -> dict[str, Any]:
    return answered(ask(http, "embed", {"model": model, **body}))


@pytest.mark.parametrize("model", _MODELS)
def test_answer(http: httpx.Client, model: str) -> None:
    answer = ask(http, "embed", {"model": model, "input": ["a", "b c"]})
    assert answer.headers["content-type"] == JSON
    body = answered(answer)
    assert list(body) == ["model", "embeddings", "total_duration", "load_duration", "prompt_eval_count"]
    assert [math.hypot(*vector) for vector in body["embeddings"]] == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize("name", ["vectors", "VECTORS:latest"], ids="model as sent, {}".format)
def test_the_name_is_echoed(http: httpx.Client, name: str) -> None:
    assert _embed(http, name, input="x")["model"] == name
    assert list(answered(ask(http, "embeddings", {"model": name, "prompt": "x"}))) == ["embedding"]


@pytest.mark.parametrize(
    ("dimensions", "length"),
    [(8, 8), (0, 64), (-1, 64), (64, 64), (1000, 64)],
    ids="dimensions {}".format,
)
def test_dimensions(http: httpx.Client, dimensions: int, length: int) -> None:
    (vector,) = _embed(http, input="the sheep sleep", dimensions=dimensions)["embeddings"]
    assert len(vector) == length
    assert math.hypot(*vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "body",
    [{}, {"input": None}, {"input": ""}, {"input": []}],
    ids=["input missing", "input null", "input empty", "input []"],
)
def test_nothing_to_embed_loads(http: httpx.Client, body: dict[str, object]) -> None:
    answer = ask(http, "embed", {"model": "vectors", **body})
    assert (answer.status_code, answer.text) == (200, '{"model":"vectors","embeddings":[]}')
    assert "vectors:latest" in {each["name"] for each in answered(http.get("/api/ps"))["models"]}


def test_an_empty_text_in_a_list_is_embedded(http: httpx.Client) -> None:
    assert [len(vector) for vector in _embed(http, input=["", "x"])["embeddings"]] == [64, 64]


@pytest.mark.parametrize(
    "wrong", [5, {}, True, ["a", 1], ["a", None], [["a"]]], ids="invalid input type {}".format
)
def test_other_inputs(http: httpx.Client, wrong: object) -> None:
    assert_refused(ask(http, "embed", {"model": "vectors", "input": wrong}), 400, "invalid input type")


@pytest.mark.parametrize("model", _MODELS)
@pytest.mark.parametrize("text", [_LONG, ["short", _LONG]], ids=["truncate false", "truncate false, batch"])
def test_too_long_and_not_to_be_cut(http: httpx.Client, model: str, text: object) -> None:
    assert_refused(ask(http, "embed", {"model": model, "input": text, "truncate": False}), 400, _TOO_LONG)


@pytest.mark.parametrize("model", _MODELS)
@pytest.mark.parametrize("more", [{}, {"truncate": True}, {"truncate": None}], ids="truncate {}".format)
def test_what_is_too_long_is_cut(http: httpx.Client, model: str, more: dict[str, object]) -> None:
    """Upstream leaves room for BOS and EOS; the simulator has neither."""
    room = 2 if model == "gguf-vectors" else 0
    answer = _embed(http, model, input=_LONG, **more)
    assert answer["prompt_eval_count"] == 64 - room
    short = _embed(http, model, input=_LONG, options={"num_ctx": 3}, **more)
    assert short["prompt_eval_count"] == 3 - room


def test_what_cannot_be_cut_further(http: httpx.Client) -> None:
    body = {"model": "gguf-vectors", "input": "x", "options": {"num_ctx": 0}}
    assert_refused(
        ask(http, "embed", body), 400, "input exceeds maximum context length and cannot be truncated further"
    )


@pytest.mark.parametrize(
    ("path", "body", "status", "error"),
    [
        ("embed", {}, 404, "model '' not found"),
        ("embed", {"model": "", "input": "x"}, 404, "model '' not found"),
        ("embed", {"model": "nope", "input": "x"}, 404, 'model "nope" not found, try pulling it first'),
        ("embed", {"model": "NOPE:v1"}, 404, 'model "NOPE:v1" not found, try pulling it first'),
        ("embeddings", {}, 400, "model is required"),
        ("embeddings", {"model": "", "prompt": "x"}, 400, "model is required"),
        ("embeddings", {"model": "nope", "prompt": "x"}, 404, 'model "nope" not found, try pulling it first'),
    ],
    ids=lambda value: f"{value}" if isinstance(value, str) else "",
)
def test_models_that_are_not_there(
    http: httpx.Client, path: str, body: dict[str, object], status: int, error: str
) -> None:
    assert_refused(ask(http, path, body), status, error)


def test_a_batch_is_each_of_its_texts(http: httpx.Client) -> None:
    texts = ["one", "two three", "four"]
    batch = _embed(http, input=texts)["embeddings"]
    assert batch == [_embed(http, input=text)["embeddings"][0] for text in texts]


@pytest.mark.parametrize("body", [{}, {"prompt": ""}, {"prompt": None}], ids="older route, {}".format)
def test_the_older_route_without_a_prompt(http: httpx.Client, body: dict[str, object]) -> None:
    answer = ask(http, "embeddings", {"model": "vectors", **body})
    assert (answer.status_code, answer.text) == (200, '{"embedding":[]}')


@pytest.mark.parametrize("model", _MODELS)
def test_older_route_calls_what_is_too_long_the_engines_fault(http: httpx.Client, model: str) -> None:
    assert_refused(ask(http, "embeddings", {"model": model, "prompt": _LONG}), 500, _TOO_LONG)
