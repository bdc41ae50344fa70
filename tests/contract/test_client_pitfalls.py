"""What clients fail on, side by side; and where the rest of it is tested.

| pitfall | asserted by |
|---|---|
| no 422, no detail, plain-text 404 and 405 | test_rules_of_every_route ("bad request status"), test_native_routes ("methods of", "not there") |
| stream is true | test_request_fields::test_stream_of_generate_is_true; transcript "chat stream default" |
| NDJSON only, no blank lines | test_rules_of_every_route::test_a_stream_is_chunked_lines; its last line here |
| no error key in a success | here |
| load and unload are one object | test_keep_alive (load and unload) |
| nanoseconds, not zero; zones | test_answer_fields::test_keys_and_types; test_rules_of_every_route ("created_at", "modified_at") |
| model as sent, digests | test_request_fields::test_model_is_echoed_as_sent; test_show_tags_ps_version::test_tags |
| model_info, capabilities, parent_model | test_show_tags_ps_version::test_what_clients_crash_without; of presets here |
| model "" and name | test_show_tags_ps_version (show), test_model_management (pull, push, create, delete) |
| wrong option and format 500, unknown ignored | test_options, test_request_fields |
| 404 texts | here, side by side |
| empty model | here, side by side |
| capability errors | test_order_of_errors (names, capabilities), test_thinking |
| thinking | test_thinking |
| tool arguments, done_reason | test_messages_and_tools::test_a_call_in_an_answer; test_answer_fields::test_tool_calls_end_with_stop |
| native defaults | here |
| two spaces, Retry-After | test_environment_and_origins::test_the_queue_is_full; test_limits_and_failures |
| keep_alive | test_keep_alive |
| version | test_show_tags_ps_version::test_version_is_numbers |

Not here: /v1.
"""  # noqa: E501 - a row of the table is one line

from __future__ import annotations

import httpx
import pytest

from tests.contract.ollama_requests import (
    INFERENCE,
    answered,
    ask,
    assert_refused,
    delete,
    inference,
    lines_of,
    preset,
    text_of,
)

_STREAMS: list[tuple[str, dict[str, object], str]] = [
    ("chat", inference("chat", "#think", "thinker", stream=True, options={}), "done"),
    ("generate", inference("generate", "#calls", "thinker", stream=True, options={}), "done"),
    ("chat", inference("chat", "#late", "thinker", stream=True, options={}), "error"),
    ("pull", {"model": "smol"}, "status"),
    ("pull", {"model": "nope"}, "error"),
    ("push", {"model": "smol"}, "error"),
    ("create", {"model": "trap", "from": "smol"}, "status"),
]


@pytest.mark.parametrize(("path", "body", "end"), _STREAMS, ids=[f"{p}, {end}" for p, _, end in _STREAMS])
def test_the_last_line_says_how_it_ended(
    http: httpx.Client, path: str, body: dict[str, object], end: str
) -> None:
    *others, last = lines_of(ask(http, path, body))
    if path == "create":
        assert delete(http, str(body["model"])).status_code == 200
    assert last.get(end) == {"done": True, "status": "success"}.get(end, last.get("error"))
    assert last[end]
    assert not any(line.get("done") or line.get("status") == "success" or "error" in line for line in others)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        *((path, inference(path, "#think", "thinker", options={})) for path in INFERENCE),
        ("generate", {"model": "smol"}),
        ("show", {"model": "smol"}),
        ("embed", {"model": "vectors", "input": "x"}),
        ("embeddings", {"model": "vectors", "prompt": "x"}),
        ("pull", {"model": "smol", "stream": False}),
    ],
    ids=lambda value: f"{value}" if isinstance(value, str) else "",
)
def test_a_success_has_no_error_key(http: httpx.Client, path: str, body: dict[str, object]) -> None:
    assert "error" not in answered(ask(http, path, body))


def test_presets_have_what_clients_crash_without(http: httpx.Client) -> None:
    with preset(http, "plain"):
        shown = answered(ask(http, "show", {"model": "plain"}))
        (listed,) = [
            each for each in answered(http.get("/api/tags"))["models"] if each["name"] == "plain:latest"
        ]
    assert shown["model_info"]["general.architecture"] == "llama"
    for each in (shown, listed):
        assert each["capabilities"] == ["completion", "decision"]
        assert each["details"]["parent_model"] == "smol:latest"


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        ("chat", inference("chat", model="x"), "model 'x' not found"),
        ("generate", inference("generate", model="x"), "model 'x' not found"),
        ("show", {"model": "x"}, "model 'x:latest' not found"),
        ("embed", {"model": "x", "input": "a"}, 'model "x" not found, try pulling it first'),
        ("embeddings", {"model": "x", "prompt": "a"}, 'model "x" not found, try pulling it first'),
        ("copy", {"source": "x", "destination": "y"}, 'model "x" not found'),
    ],
    ids=lambda value: f"{value}" if isinstance(value, str) and " " not in value else "",
)
def test_words_for_what_is_not_there(
    http: httpx.Client, path: str, body: dict[str, object], error: str
) -> None:
    assert_refused(ask(http, path, body), 404, error)


@pytest.mark.parametrize(
    ("path", "status", "error"),
    [
        ("generate", 404, "model '' not found"),
        ("embed", 404, "model '' not found"),
        ("chat", 400, "model is required"),
        ("embeddings", 400, "model is required"),
        ("show", 400, "model is required"),
    ],
    ids=lambda value: f"{value}" if isinstance(value, str) and " " not in value else "",
)
def test_words_for_no_name(http: httpx.Client, path: str, status: int, error: str) -> None:
    for body in ({}, {"model": ""}):
        assert_refused(ask(http, path, body), status, error)


def test_what_is_not_said_is_ollamas_default(http: httpx.Client) -> None:
    """With a seed, sampling is a function of the options. This model's own say nothing.

    Its probabilities are so far apart that only a high temperature shows.
    """

    def say(**options: object) -> list[str]:
        bodies = [
            inference(
                "generate",
                "\n",
                "gguf-thinker",
                raw=True,
                options={"seed": seed, "num_predict": 6, **options},
            )
            for seed in range(8)
        ]
        return [text_of(answered(ask(http, "generate", body))) for body in bodies]

    defaults = {"temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0, "repeat_penalty": 1.0}
    assert say() == say(**defaults)
    assert say() != say(top_k=3)
    assert say() != say(top_p=0.2)
    wide = {"top_k": 0, "top_p": 1}
    assert say(**wide) == say(**wide, temperature=0.8)
    assert say(**wide) != say(**wide, temperature=30)
