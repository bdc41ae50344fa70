"""keep_alive over HTTP, on two replicas of the real model.

Contract: ollama-contract.md, "Keep-alive, load and unload".
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.support.processes import frontend, worker
from tests.support.waiting import wait_until

_MODEL = "smol:latest"
_DEADLINE_SECONDS = 30.0
_FLAGS = ("--name", _MODEL, "--context-length", "512", "--slots", "1", "--keep-alive", "1h")


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("replicas")
    with ExitStack() as processes:
        workers = [
            processes.enter_context(worker(folder / f"worker{number}.log", *_FLAGS)) for number in range(2)
        ]
        addresses = [process.address for process in workers]
        front = frontend(folder / "frontend.log", addresses, "--policy", "round_robin")
        entry = processes.enter_context(front)
        url = f"http://{entry.address}"
        yield processes.enter_context(httpx.Client(base_url=url, timeout=_DEADLINE_SECONDS))


def _post(http: httpx.Client, **body: object) -> dict[str, object]:
    options = {"num_predict": 2, "temperature": 0}
    response = http.post("/api/generate", json={"model": _MODEL, "stream": False, "options": options, **body})
    answer: dict[str, object] = response.json()
    assert response.status_code == 200, answer
    return answer


def _expiries(http: httpx.Client) -> list[datetime]:
    return [datetime.fromisoformat(model["expires_at"]) for model in http.get("/api/ps").json()["models"]]


def _is_about(http: httpx.Client, seconds: float) -> bool:
    wanted = datetime.now(UTC) + timedelta(seconds=seconds)
    return any(abs(expiry - wanted) < timedelta(seconds=20) for expiry in _expiries(http))


def test_an_unloaded_model_is_not_listed_and_loads_on_the_next_request(http: httpx.Client) -> None:
    first = _post(http, prompt="The capital of France is")
    assert _post(http, keep_alive="0s")["done_reason"] == "unload"
    wait_until(lambda: not _expiries(http), _DEADLINE_SECONDS, "both replicas have let the model go")

    again = [_post(http, prompt="The capital of France is") for _ in range(2)]

    assert [answer["response"] for answer in again] == [first["response"]] * 2
    loads_ns = [int(str(answer["load_duration"])) for answer in again]
    # Each replica had to load; without loading it takes a few milliseconds.
    assert min(loads_ns) > 50_000_000


def test_the_latest_keep_alive_counts(http: httpx.Client) -> None:
    _post(http, prompt="Hi", keep_alive="10m")
    _post(http, prompt="Hi", keep_alive=600)
    wait_until(lambda: _is_about(http, 600), _DEADLINE_SECONDS, "ps shows ten minutes")
    assert _post(http, keep_alive="2h")["done_reason"] == "load"
    wait_until(lambda: _is_about(http, 7200), _DEADLINE_SECONDS, "ps shows two hours")
    _post(http, keep_alive=-1)
    wait_until(
        lambda: all(expiry.year > 2200 for expiry in _expiries(http)), _DEADLINE_SECONDS, "ps shows no end"
    )


def test_keep_alive_0_unloads_after_the_response(http: httpx.Client) -> None:
    began = time.monotonic()
    answers = [_post(http, prompt="Hi", keep_alive=0) for _ in range(2)]

    assert [answer["done_reason"] for answer in answers] == ["length", "length"]
    wait_until(lambda: not _expiries(http), _DEADLINE_SECONDS, "ps shows nothing any more")
    assert time.monotonic() - began < _DEADLINE_SECONDS


def test_the_model_is_unloaded_when_keep_alive_expires(http: httpx.Client) -> None:
    for _ in range(2):
        _post(http, prompt="Hi", keep_alive="500ms")

    wait_until(lambda: not _expiries(http), _DEADLINE_SECONDS, "the timers let the model go")


def test_an_unloaded_model_is_still_listed(http: httpx.Client) -> None:
    _post(http, keep_alive=0)
    wait_until(lambda: not _expiries(http), _DEADLINE_SECONDS, "ps shows nothing")

    assert http.get("/readyz").status_code == 200
    assert [model["name"] for model in http.get("/api/tags").json()["models"]] == [_MODEL]
    assert http.post("/api/show", json={"model": _MODEL}).json()["details"]["family"] == "llama"
