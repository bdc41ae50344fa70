"""Options.

| line | asserted by |
|---|---|
| wrong types (chat, some) | transcripts "chat options {"num_ctx": "big"}", "… {"stop": "x"}", "… {"stop": [1]}", "… {"use_mmap": "yes"}" |
| integers accept floats, null is not set, unknown names | transcripts "chat options {"seed": 1.7 …}", "… {"temperature": null …}", "… {"unknown": 1 …}" |
| num_predict 0 and -2 | transcripts "chat options {"num_predict": 0}", "… {"num_predict": -2, …}" |
| seed repeats an answer | test_ollama_client::test_seed_repeats_a_sampled_answer |
| options that are not honoured are named | test_answer_headers::test_headers_and_the_log_agree |

Not here: that num_batch, num_gpu, main_gpu, use_mmap, num_thread and draft_num_predict mean something (of how a worker
was started; X-Drover-Not-Honoured names them), the defaults of num_ctx by VRAM.
"""  # noqa: E501 - a row of the table is one line

from __future__ import annotations

import httpx
import pytest

from tests.contract.ollama_requests import (
    INFERENCE,
    PARIS,
    QUESTION,
    answered,
    ask,
    assert_refused,
    inference,
    preset,
    rendered,
    text_of,
)

_CAPITAL = "The Capital"
_WILD = {"temperature": 5, "num_predict": 8}

# Name, a value of its type, one that is not, the type's name.
_TYPES: list[tuple[str, object, object, str]] = [
    ("temperature", 0, "hot", "float32"),
    ("top_k", 40, "x", "integer"),
    ("top_p", 0.9, True, "float32"),
    ("min_p", 0.05, [], "float32"),
    ("repeat_penalty", 1.1, "x", "float32"),
    ("presence_penalty", 0.5, {}, "float32"),
    ("frequency_penalty", 0.5, "0.5", "float32"),
    ("seed", 42, "42", "integer"),
    ("num_predict", 1, False, "integer"),
    ("stop", ["x"], "x", "array"),
    ("typical_p", 0.9, "x", "float32"),
    ("repeat_last_n", 33, [], "integer"),
    ("num_keep", 5, {}, "integer"),
    ("num_ctx", 1024, "big", "integer"),
    ("num_batch", 2, "x", "integer"),
    ("num_gpu", -1, True, "integer"),
    ("main_gpu", 0, "x", "integer"),
    ("use_mmap", True, 1, "boolean"),
    ("num_thread", 8, "x", "integer"),
    ("draft_num_predict", 4, "x", "integer"),
]


@pytest.mark.parametrize(("name", "value"), [row[:2] for row in _TYPES], ids=[f"{row[0]}" for row in _TYPES])
@pytest.mark.parametrize("path", INFERENCE)
def test_each_option_is_taken(http: httpx.Client, path: str, name: str, value: object) -> None:
    options = {"num_predict": 1, name: value}
    assert answered(ask(http, path, inference(path, options=options)))["eval_count"] == 1


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [(name, bad, kind) for name, _, bad, kind in _TYPES],
    ids=[f"{row[0]}, wrong type" for row in _TYPES],
)
@pytest.mark.parametrize("path", [*INFERENCE, "embed", "embeddings"])
def test_a_wrong_type_is_500(http: httpx.Client, path: str, name: str, value: object, kind: str) -> None:
    model = "vectors" if path.startswith("embed") else "smol"
    body = {**inference(path, model=model, options={name: value}), "input": "x"}
    assert_refused(ask(http, path, body), 500, f'option "{name}" must be of type {kind}')


@pytest.mark.parametrize("name", [row[0] for row in _TYPES], ids="{}, null".format)
def test_null_is_not_set(http: httpx.Client, name: str) -> None:
    options = {"temperature": 0, "num_predict": 8, name: None}
    assert text_of(answered(ask(http, "generate", inference("generate", options=options)))).startswith(PARIS)


@pytest.mark.parametrize("stop", [[1], ["x", None], [["x"]]], ids="stop {}".format)
@pytest.mark.parametrize("path", INFERENCE)
def test_stop_is_of_strings(http: httpx.Client, path: str, stop: object) -> None:
    body = inference(path, options={"stop": stop})
    assert_refused(ask(http, path, body), 500, 'option "stop" must be of an array of strings')


@pytest.mark.parametrize(
    "name",
    ["numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock", "embedding_only", "tfs_z",
     "mirostat", "mirostat_tau", "mirostat_eta", "penalize_newline", "wizard", "Temperature"],
    ids="ignored {}".format,
)  # fmt: skip
@pytest.mark.parametrize("path", INFERENCE)
def test_no_option_is_refused_by_its_name(http: httpx.Client, path: str, name: str) -> None:
    options = {"num_predict": 1, name: ["any", {"kind": "of value"}]}
    assert answered(ask(http, path, inference(path, options=options)))["eval_count"] == 1


@pytest.mark.parametrize(
    ("options", "begin"),
    [
        pytest.param({"temperature": 0}, PARIS, id="temperature 0 is greedy"),
        pytest.param({**_WILD, "top_k": 1}, PARIS, id="top_k"),
        pytest.param({**_WILD, "top_p": 0.0001}, PARIS, id="top_p"),
        pytest.param({**_WILD, "top_p": 0}, PARIS, id="top_p 0"),
        pytest.param({**_WILD, "min_p": 1}, PARIS, id="min_p"),
        pytest.param({"temperature": 0, "repeat_penalty": 5}, _CAPITAL, id="repeat_penalty"),
        pytest.param({"temperature": 0}, PARIS, id="repeat_penalty's default is 1.0"),
        pytest.param(
            {"temperature": 0, "repeat_penalty": 5, "repeat_last_n": 0}, PARIS, id="repeat_last_n 0"
        ),
        pytest.param({"temperature": 0, "presence_penalty": 100}, _CAPITAL, id="presence_penalty"),
        pytest.param({"temperature": 0, "frequency_penalty": 100}, _CAPITAL, id="frequency_penalty"),
        pytest.param({"temperature": 0, "num_predict": -1}, PARIS, id="num_predict -1"),
        pytest.param({"temperature": 0, "num_predict": 0}, PARIS, id="num_predict 0"),
        pytest.param({"temperature": 0, "stop": ["Paris"]}, "The capital of France is ", id="stop"),
    ],
)
def test_what_an_option_does(http: httpx.Client, options: dict[str, object], begin: str) -> None:
    body = inference("generate", QUESTION, options={"num_predict": 8, **options})
    text = text_of(answered(ask(http, "generate", body)))
    # A text that continues is of a penalty; the others are the whole answer.
    assert text == begin if begin != _CAPITAL else text.startswith(begin)


@pytest.mark.parametrize(
    ("num_predict", "tokens"),
    [(1, 1), (2.9, 2), (5, 5)],
    ids=["num_predict 1", "a float", "num_predict 5"],
)
@pytest.mark.parametrize("path", INFERENCE)
def test_num_predict(http: httpx.Client, path: str, num_predict: float, tokens: int) -> None:
    answer = answered(
        ask(http, path, inference(path, options={"temperature": 0, "num_predict": num_predict}))
    )
    assert (answer["done_reason"], answer["eval_count"]) == ("length", tokens)


def test_seed(http: httpx.Client) -> None:
    def say(seed: int) -> str:
        options = {"temperature": 2, "top_k": 0, "top_p": 1, "num_predict": 8, "seed": seed}
        return text_of(answered(ask(http, "generate", inference("generate", options=options))))

    assert say(7) == say(7)
    assert len({say(-1) for _ in range(3)}) > 1


def test_num_ctx_is_a_budget_and_a_large_one_does_not_fail(http: httpx.Client) -> None:
    for num_ctx, most in ((16, 16), (1_000_000, 100)):
        body = inference("generate", "x " * 60, raw=True, options={"num_ctx": num_ctx, "num_predict": 1})
        assert answered(ask(http, "generate", body))["prompt_eval_count"] <= most


def test_num_keep(http: httpx.Client) -> None:
    body = {"model": "smol", "prompt": "zero " + "x " * 60, "raw": True}
    kept = rendered(http, "generate", {**body, "options": {"num_ctx": 16, "num_keep": 2}})
    lost = rendered(http, "generate", {**body, "options": {"num_ctx": 16, "num_keep": 0}})
    assert (kept.startswith("zero"), lost.startswith("zero")) == (True, False)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        pytest.param({}, "The capital", id="precedence, the model's"),
        pytest.param({"num_predict": None, "stop": None}, "The capital", id="precedence, null"),
        pytest.param({"num_predict": 3}, "The capital", id="precedence, stop is still the model's"),
        pytest.param(
            {"num_predict": 3, "stop": ["never"]}, "The capital of", id="precedence, the request's list"
        ),
        pytest.param({"num_predict": 3, "stop": []}, "The capital of", id="precedence, an empty list"),
        pytest.param({"num_predict": 1}, "The", id="precedence, the request's number"),
    ],
)
def test_precedence(http: httpx.Client, options: dict[str, object], text: str) -> None:
    parameters = {"temperature": 0, "num_predict": 2, "stop": [" of"]}
    with preset(http, "with-parameters", parameters=parameters) as name:
        answer = answered(ask(http, "generate", inference("generate", model=name, options=options)))
    assert text_of(answer) == text
