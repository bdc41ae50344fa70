"""`keep_alive`, and requests that only load or unload.

| line | asserted by |
|---|---|
| what cannot be read (chat) | transcripts "chat keep_alive '10'", "… ''", "… 'abc'", "… True", "… []", "… {}" |
| load and unload, their keys and their order | transcripts "chat load …", "chat unload", "generate load …", "generate unload" |
| one object with the JSON Content-Type | test_http_contract::test_load_and_unload_are_one_plain_object |
| non-empty with keep_alive 0 answers | transcript "chat keep_alive 0" |
"""  # noqa: E501 - a row of the table is one line

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.contract.ollama_requests import (
    INFERENCE,
    JSON,
    answered,
    ask,
    assert_refused,
    inference,
    lines_of,
)
from tests.support.waiting import wait_until

_SEEN_SECONDS = 30.0
_SLACK = timedelta(seconds=20)
_FOREVER = timedelta(days=200 * 365)


@pytest.mark.parametrize(
    ("keep_alive", "seconds"),
    [
        pytest.param(600, 600, id="number, int"),
        pytest.param(601.5, 601.5, id="number, float"),
        pytest.param(-1, None, id="number, negative"),
        pytest.param(-0.5, None, id="number, negative float"),
        pytest.param("10m", 600, id="duration 10m"),
        pytest.param("1h30m", 5400, id="duration 1h30m"),
        pytest.param("5m0s", 300, id="duration of the Go client"),
        pytest.param("700000ms", 700, id="duration ms"),
        pytest.param("1.5h", 5400, id="duration with a fraction"),
        pytest.param("800000000us", 800, id="duration us"),
        pytest.param("800000000µs", 800, id="duration µs"),
        pytest.param("900000000000ns", 900, id="duration ns"),
        pytest.param("-1m", None, id="duration, negative"),
        pytest.param(None, 300, id="null"),
        pytest.param(..., 300, id="absent"),
    ],
)
def test_a_model_stays_that_long(http: httpx.Client, keep_alive: object, seconds: float | None) -> None:
    """Unloaded first: without a keep_alive, a model stays as long as the last one said."""
    ask(http, "generate", {"model": "smol", "keep_alive": 0})
    _wait_until_unloaded(http)
    answered(ask(http, "generate", inference("generate", "", keep_alive=keep_alive)))

    wait_until(lambda: _stays(http, seconds), _SEEN_SECONDS, f"{keep_alive!r} shows")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat", inference("chat", keep_alive="20m")),
        ("generate", inference("generate", keep_alive="20m")),
        ("generate", inference("generate", "", keep_alive="20m")),
        ("chat", {"model": "smol", "keep_alive": "20m"}),
        ("embed", {"model": "smol", "keep_alive": "20m"}),
        ("embeddings", {"model": "smol", "keep_alive": "20m"}),
    ],
    ids=["on chat", "on generate", "on load", "on a chat's load", "on embed's load",
         "on embeddings' load"],
)  # fmt: skip
def test_each_route_takes_it(http: httpx.Client, path: str, body: dict[str, object]) -> None:
    answered(ask(http, "generate", inference("generate", "", keep_alive="10m")))
    answered(ask(http, path, body))
    wait_until(lambda: _stays(http, 1200), _SEEN_SECONDS, "twenty minutes show")


@pytest.mark.parametrize(
    ("keep_alive", "error"),
    [
        ("10", 'time: missing unit in duration "10"'),
        ("", 'time: invalid duration ""'),
        ("abc", 'time: invalid duration "abc"'),
        ("5x", 'time: unknown unit "x" in duration "5x"'),
        (True, "Unsupported type: 'bool'"),
        ([], "Unsupported type: '[]interface {}'"),
        ({}, "Unsupported type: 'map[string]interface {}'"),
    ],
    ids=lambda value: f"refused {value!r}",
)
@pytest.mark.parametrize("path", ["generate", "embed", "embeddings"])
def test_what_cannot_be_read(http: httpx.Client, path: str, keep_alive: object, error: str) -> None:
    assert_refused(ask(http, path, {"model": "smol", "keep_alive": keep_alive}), 400, error)


@pytest.mark.parametrize("keep_alive", [0, 0.0, "0", "0s", "-0s", "0h0m"], ids="unload, {!r}".format)
@pytest.mark.parametrize("path", INFERENCE)
def test_unload(http: httpx.Client, path: str, keep_alive: object) -> None:
    answer = ask(http, path, {"model": "smol", "stream": True, "keep_alive": keep_alive})

    assert answer.headers["content-type"] == JSON
    assert answered(answer)["done_reason"] == "unload"
    _wait_until_unloaded(http)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", INFERENCE)
def test_load_waits_until_the_model_is_there(http: httpx.Client, path: str, stream: bool) -> None:
    ask(http, path, {"model": "smol", "keep_alive": 0})
    _wait_until_unloaded(http)
    answer = ask(http, path, {"model": "smol", "stream": stream})

    part = {"message": {"role": "assistant", "content": ""}} if path == "chat" else {"response": ""}
    loaded = answered(answer)
    assert answer.headers["content-type"] == JSON
    assert list(loaded) == ["model", "created_at", *part, "done", "done_reason"]
    assert loaded == {**loaded, "model": "smol", **part, "done": True, "done_reason": "load"}
    wait_until(lambda: "smol:latest" in _loaded(http), _SEEN_SECONDS, "it is there")


@pytest.mark.parametrize("path", INFERENCE)
def test_unload_of_an_unknown_model(http: httpx.Client, path: str) -> None:
    assert_refused(ask(http, path, {"model": "nope", "keep_alive": 0}), 404, "model 'nope' not found")


@pytest.mark.parametrize("path", INFERENCE)
def test_unload_of_what_was_not_loaded(http: httpx.Client, path: str) -> None:
    for _ in range(2):
        assert answered(ask(http, path, {"model": "smol", "keep_alive": 0}))["done_reason"] == "unload"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", INFERENCE)
def test_an_answer_with_keep_alive_0_unloads_after_it(http: httpx.Client, path: str, stream: bool) -> None:
    answer = ask(http, path, inference(path, keep_alive=0, stream=stream))

    last = lines_of(answer)[-1] if stream else answered(answer)
    assert (last["done_reason"], last["eval_count"]) == ("length", 3)
    _wait_until_unloaded(http)


@pytest.mark.parametrize("path", INFERENCE)
def test_checks_run_before_load_and_not_before_unload(http: httpx.Client, path: str) -> None:
    body = {"model": "smol", "think": True}
    assert_refused(ask(http, path, body), 400, '"smol" does not support thinking')
    assert answered(ask(http, path, {**body, "keep_alive": 0}))["done_reason"] == "unload"


def _loaded(http: httpx.Client) -> dict[str, str]:
    return {each["name"]: each["expires_at"] for each in http.get("/api/ps").json()["models"]}


def _stays(http: httpx.Client, seconds: float | None) -> bool:
    """About that long; None: for ever. False while the frontend knows of no model in memory."""
    expiry = _loaded(http).get("smol:latest")
    if expiry is None:
        return False
    left = datetime.fromisoformat(expiry) - datetime.now(UTC)
    return left > _FOREVER if seconds is None else abs(left - timedelta(seconds=seconds)) < _SLACK


def _wait_until_unloaded(http: httpx.Client) -> None:
    """The frontend hears of it with the worker's next report."""
    wait_until(lambda: "smol:latest" not in _loaded(http), _SEEN_SECONDS, "the model leaves")
