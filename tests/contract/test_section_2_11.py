"""Section 2.11: errors by case, in the order in which they are checked.

| line | asserted by |
|---|---|
| #1 | transcripts "empty body /api/chat", "empty body /api/generate" |
| #2 | test_http_contract::test_malformed_bodies; sections 2.1, 2.2, 2.4, 2.6 |
| #3 | section 2.1 |
| #9 | section 2.5 |
| #11 | section 2.1 |
| #12 | section 2.6 |
| #16 chat | test_limits_and_failures::test_a_full_queue_is_busy_in_ollamas_words |
| #17 | test_cancellation::test_while_queued (nobody is there to read the 499) |
| #18 | section 2.1 |
| #19 | test_section_0 (before the stream), test_limits_and_failures::test_a_script_that_fails… (in it) |

Not here: #10 (no image-generation models), #20 (no cloud); of #14, that several missing
capabilities are joined (no request can ask for two that one route checks).
"""

from __future__ import annotations

import httpx
import pytest

from tests.contract.asking import INFERENCE, ask, assert_refused, inference, preset

_TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
_CLOUD = "ollama cloud is disabled: remote model is unavailable"
_NO_MODEL = {"chat": (400, "model is required"), "generate": (404, "model '' not found")}


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": None}], ids="2.11 #4 {}".format)
@pytest.mark.parametrize("path", INFERENCE)
def test_no_model(http: httpx.Client, path: str, body: dict[str, object]) -> None:
    assert_refused(ask(http, path, body), *_NO_MODEL[path])


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        pytest.param("a b", 400, "invalid model name", id="2.11 #5 a space"),
        pytest.param("a/b/c/d", 400, "invalid model name", id="2.11 #5 four parts"),
        pytest.param("smol:", 400, "invalid model name", id="2.11 #5 no tag"),
        pytest.param(
            "x:cloud:local", 400, 'use either :local or :cloud, not both: "x:cloud:local"', id="2.11 #6"
        ),
        pytest.param("nope", 404, "model 'nope' not found", id="2.11 #7 as sent"),
        pytest.param("NOPE:Latest", 404, "model 'NOPE:Latest' not found", id="2.11 #7 as sent, in its case"),
        pytest.param("smol:v2", 404, "model 'smol:v2' not found", id="2.11 #7 another tag"),
        pytest.param("x:cloud", 403, _CLOUD, id="2.11 #8 cloud"),
        pytest.param("x:120b-cloud", 403, _CLOUD, id="2.11 #8 -cloud"),
    ],
)
@pytest.mark.parametrize("path", INFERENCE)
def test_names(http: httpx.Client, path: str, name: str, status: int, error: str) -> None:
    assert_refused(ask(http, path, inference(path, model=name)), status, error)


@pytest.mark.parametrize("path", INFERENCE)
def test_2_11_13_an_embedding_model(http: httpx.Client, path: str) -> None:
    for name in ("vectors", "VECTORS:latest"):
        body = inference(path, model=name)
        assert_refused(ask(http, path, body), 400, f'"{name}" does not support {path}')


@pytest.mark.parametrize("name", ["smol", "SMOL", "library/smol:latest"])
def test_2_11_14_other_capabilities_are_told_with_the_full_name(http: httpx.Client, name: str) -> None:
    full = "registry.ollama.ai/library/smol:latest"
    chat = inference("chat", model=name, tools=_TOOLS)
    assert_refused(ask(http, "chat", chat), 400, f"{full} does not support tools")
    generate = inference("generate", model=name, suffix="x")
    assert_refused(ask(http, "generate", generate), 400, f"{full} does not support insert")


def test_2_11_14_of_a_preset(http: httpx.Client) -> None:
    with preset(http, "Ns/Own:V1") as name:
        answer = ask(http, "chat", inference("chat", model=name.lower(), tools=_TOOLS))
        assert_refused(answer, 400, "registry.ollama.ai/Ns/Own:V1 does not support tools")


@pytest.mark.parametrize("path", INFERENCE)
def test_2_11_15_wrong_option(http: httpx.Client, path: str) -> None:
    body = inference(path, options={"num_ctx": "big"})
    assert_refused(ask(http, path, body), 500, 'option "num_ctx" must be of type integer')


# Each body has two faults, and the first one is told.
_ORDER = [
    ("#2 before #3", {"model": 1, "top_logprobs": 99}, 400, "json: cannot unmarshal number into Go"),
    ("#3 before #4", {"top_logprobs": 99}, 400, "top_logprobs must be between 0 and 20"),
    ("#3 before #5", {"model": "a b", "top_logprobs": 99}, 400, "top_logprobs must be between 0 and 20"),
    ("#5 before #12", {"model": "a b", "think": True}, 400, "invalid model name"),
    ("#6 before #7", {"model": "nope:local:cloud"}, 400, "use either :local or :cloud, not both"),
    ("#7 before #9", {"model": "nope", "keep_alive": 0}, 404, "model 'nope' not found"),
    ("#7 before #15", {"model": "nope", "options": {"num_ctx": "x"}}, 404, "model 'nope' not found"),
    ("#7 before #18", {"model": "nope", "format": "yaml"}, 404, "model 'nope' not found"),
    ("#12 before #13", {"model": "vectors", "think": True}, 400, '"vectors" does not support thinking'),
    ("#12 before #15", {"model": "smol", "think": True, "options": {"seed": "x"}}, 400, '"smol" does'),
    ("#13 before #15", {"model": "vectors", "options": {"seed": "x"}}, 400, '"vectors" does not support'),
    ("#15 before #18", {"model": "smol", "options": {"seed": "x"}, "format": "yaml"}, 500, 'option "seed"'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("faults", "status", "begin"), [row[1:] for row in _ORDER], ids=[f"2.11 {row[0]}" for row in _ORDER]
)
@pytest.mark.parametrize("path", INFERENCE)
def test_order(http: httpx.Client, path: str, faults: dict[str, object], status: int, begin: str) -> None:
    text = {} if "keep_alive" in faults else {"prompt": "x", "messages": [{"role": "user", "content": "x"}]}
    answer = ask(http, path, {**text, **faults})
    assert answer.status_code == status
    assert answer.json()["error"].startswith(begin)


_RAW = {"prompt": "x", "raw": True, "system": "x"}
_SEED = {"seed": "x"}
_GENERATE_ORDER: list[tuple[str, dict[str, object], int, str | None]] = [
    ("#9 before #11", {"model": "smol", "keep_alive": 0, "raw": True, "system": "x"}, 200, None),
    ("#11 before #12", {"model": "smol", **_RAW, "think": True}, 400, "raw mode"),
    ("#11 before #13", {"model": "vectors", **_RAW}, 400, "raw mode"),
    ("#12 before #14", {"model": "smol", "prompt": "x", "think": True, "suffix": "x"}, 400, '"smol" does'),
    ("#14 before #15", {"model": "smol", "prompt": "x", "suffix": "x", "options": _SEED}, 400, "registry."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status", "begin"),
    [row[1:] for row in _GENERATE_ORDER],
    ids=[f"2.11 {row[0]} generate" for row in _GENERATE_ORDER],
)
def test_order_of_generate(
    http: httpx.Client, body: dict[str, object], status: int, begin: str | None
) -> None:
    answer = ask(http, "generate", body)
    assert answer.status_code == status
    assert (answer.json().get("error") or "").startswith(begin or "")
    assert ("error" in answer.json()) is (begin is not None)
