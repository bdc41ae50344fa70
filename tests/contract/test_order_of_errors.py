"""Errors of generate and chat, in the order in which they are checked.

| line | asserted by |
|---|---|
| no body | transcripts "empty body /api/chat", "empty body /api/generate" |
| wrong type | test_http_contract::test_malformed_bodies; test_request_fields, test_messages_and_tools, test_keep_alive, test_thinking |
| top_logprobs | test_request_fields |
| unload | test_keep_alive |
| raw | test_request_fields |
| think | test_thinking |
| full queue chat | test_limits_and_failures::test_a_full_queue_is_answered_with_ollamas_busy_error |
| client left | test_cancellation::test_while_queued (no client is left to read the 499) |
| bad format | test_request_fields |
| engine failure | test_rules_of_every_route (before the stream), test_limits_and_failures::test_a_script_that_fails… (in it) |

Not here: models that generate images (none here), failures of a cloud account (no cloud), that several
missing capabilities are joined (no request can ask for two that one route checks).
"""  # noqa: E501 - a row of the table is one line

from __future__ import annotations

import httpx
import pytest

from tests.contract.ollama_requests import INFERENCE, ask, assert_refused, inference, preset

_TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
_CLOUD = "ollama cloud is disabled: remote model is unavailable"
_NO_MODEL = {"chat": (400, "model is required"), "generate": (404, "model '' not found")}


@pytest.mark.parametrize("body", [{}, {"model": ""}, {"model": None}], ids="no model {}".format)
@pytest.mark.parametrize("path", INFERENCE)
def test_no_model(http: httpx.Client, path: str, body: dict[str, object]) -> None:
    assert_refused(ask(http, path, body), *_NO_MODEL[path])


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        pytest.param("a b", 400, "invalid model name", id="a space"),
        pytest.param("a/b/c/d", 400, "invalid model name", id="four parts"),
        pytest.param("smol:", 400, "invalid model name", id="no tag"),
        pytest.param(
            "x:cloud:local", 400, 'use either :local or :cloud, not both: "x:cloud:local"', id="two suffixes"
        ),
        pytest.param("nope", 404, "model 'nope' not found", id="as sent"),
        pytest.param("NOPE:Latest", 404, "model 'NOPE:Latest' not found", id="as sent, in its case"),
        pytest.param("smol:v2", 404, "model 'smol:v2' not found", id="another tag"),
        pytest.param("x:cloud", 403, _CLOUD, id="cloud"),
        pytest.param("x:120b-cloud", 403, _CLOUD, id="-cloud"),
    ],
)
@pytest.mark.parametrize("path", INFERENCE)
def test_names(http: httpx.Client, path: str, name: str, status: int, error: str) -> None:
    assert_refused(ask(http, path, inference(path, model=name)), status, error)


@pytest.mark.parametrize("path", INFERENCE)
def test_an_embedding_model(http: httpx.Client, path: str) -> None:
    for name in ("vectors", "VECTORS:latest"):
        body = inference(path, model=name)
        assert_refused(ask(http, path, body), 400, f'"{name}" does not support {path}')


@pytest.mark.parametrize("name", ["smol", "SMOL", "library/smol:latest"])
def test_other_capabilities_are_named_with_the_full_name(http: httpx.Client, name: str) -> None:
    full = "registry.ollama.ai/library/smol:latest"
    chat = inference("chat", model=name, tools=_TOOLS)
    assert_refused(ask(http, "chat", chat), 400, f"{full} does not support tools")
    generate = inference("generate", model=name, suffix="x")
    assert_refused(ask(http, "generate", generate), 400, f"{full} does not support insert")


def test_other_capabilities_of_a_preset(http: httpx.Client) -> None:
    with preset(http, "Ns/Own:V1") as name:
        answer = ask(http, "chat", inference("chat", model=name.lower(), tools=_TOOLS))
        assert_refused(answer, 400, "registry.ollama.ai/Ns/Own:V1 does not support tools")


@pytest.mark.parametrize("path", INFERENCE)
def test_wrong_option(http: httpx.Client, path: str) -> None:
    body = inference(path, options={"num_ctx": "big"})
    assert_refused(ask(http, path, body), 500, 'option "num_ctx" must be of type integer')


# Each body has two faults; the error is that of the first.
_ORDER = [
    (
        "wrong type before top_logprobs",
        {"model": 1, "top_logprobs": 99},
        400,
        "json: cannot unmarshal number into Go",
    ),
    ("top_logprobs before no model", {"top_logprobs": 99}, 400, "top_logprobs must be between 0 and 20"),
    (
        "top_logprobs before invalid name",
        {"model": "a b", "top_logprobs": 99},
        400,
        "top_logprobs must be between 0 and 20",
    ),
    ("invalid name before think", {"model": "a b", "think": True}, 400, "invalid model name"),
    (
        "two suffixes before unknown model",
        {"model": "nope:local:cloud"},
        400,
        "use either :local or :cloud, not both",
    ),
    ("unknown model before unload", {"model": "nope", "keep_alive": 0}, 404, "model 'nope' not found"),
    (
        "unknown model before wrong option",
        {"model": "nope", "options": {"num_ctx": "x"}},
        404,
        "model 'nope' not found",
    ),
    ("unknown model before bad format", {"model": "nope", "format": "yaml"}, 404, "model 'nope' not found"),
    (
        "think before embedding model",
        {"model": "vectors", "think": True},
        400,
        '"vectors" does not support thinking',
    ),
    (
        "think before wrong option",
        {"model": "smol", "think": True, "options": {"seed": "x"}},
        400,
        '"smol" does',
    ),
    (
        "embedding model before wrong option",
        {"model": "vectors", "options": {"seed": "x"}},
        400,
        '"vectors" does not support',
    ),
    (
        "wrong option before bad format",
        {"model": "smol", "options": {"seed": "x"}, "format": "yaml"},
        500,
        'option "seed"',
    ),
]


@pytest.mark.parametrize(
    ("faults", "status", "begin"), [row[1:] for row in _ORDER], ids=[f"{row[0]}" for row in _ORDER]
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
    ("unload before raw", {"model": "smol", "keep_alive": 0, "raw": True, "system": "x"}, 200, None),
    ("raw before think", {"model": "smol", **_RAW, "think": True}, 400, "raw mode"),
    ("raw before embedding model", {"model": "vectors", **_RAW}, 400, "raw mode"),
    (
        "think before other capability",
        {"model": "smol", "prompt": "x", "think": True, "suffix": "x"},
        400,
        '"smol" does',
    ),
    (
        "other capability before wrong option",
        {"model": "smol", "prompt": "x", "suffix": "x", "options": _SEED},
        400,
        "registry.",
    ),
]


@pytest.mark.parametrize(
    ("body", "status", "begin"),
    [row[1:] for row in _GENERATE_ORDER],
    ids=[f"{row[0]} generate" for row in _GENERATE_ORDER],
)
def test_order_of_generate(
    http: httpx.Client, body: dict[str, object], status: int, begin: str | None
) -> None:
    answer = ask(http, "generate", body)
    assert answer.status_code == status
    assert (answer.json().get("error") or "").startswith(begin or "")
    assert ("error" in answer.json()) is (begin is not None)
