"""Metrics and queue positions, with both tiers as processes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.support.processes import Stack, free_port, stack
from tests.support.waiting import wait_until

_DEADLINE_SECONDS = 15.0
_HELLO = [{"role": "user", "content": "hello"}]
_ONE_AT_A_TIME = (
    *("--engine", "simulator", "--model", "sim", "--sim-running-limit", "1"),
    *(
        "--sim-decode-step-base-ms",
        "20",
        "--sim-answer-tokens-min",
        "5000",
        "--sim-answer-tokens-max",
        "5000",
    ),
)
METRICS = f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    flags = (*_ONE_AT_A_TIME, "--metrics-listen", METRICS)
    with stack(tmp_path_factory.mktemp("observed"), flags) as started:
        yield started


def _chat(tokens: int, **more: object) -> dict[str, object]:
    return {"model": "sim", "messages": _HELLO, "options": {"num_predict": tokens, "temperature": 0}, **more}


def _metrics(running: Stack) -> dict[str, float]:
    lines = httpx.get(f"{running.url}/metrics").text.splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_a_response_counts_in_the_metrics(running: Stack) -> None:
    before = _metrics(running)
    answer = httpx.post(f"{running.url}/api/chat", json=_chat(10, stream=False), timeout=20).json()
    name = 'drover_frontend_requests_total{model="sim:latest",route="/api/chat",status="200"}'
    wait_until(lambda: _metrics(running).get(name, 0) == before.get(name, 0) + 1, 5, "it is counted")
    after = _metrics(running)

    tokens = 'drover_frontend_tokens_total{kind="%s",model="sim:latest"}'
    assert after[tokens % "completion"] - before.get(tokens % "completion", 0) == answer["eval_count"]
    assert after[tokens % "prompt"] - before.get(tokens % "prompt", 0) == answer["prompt_eval_count"]
    assert after['drover_frontend_ttft_seconds_count{model="sim:latest"}'] >= 1
    assert after['drover_frontend_inter_token_seconds_count{model="sim:latest"}'] >= 1
    worker = f'{{model="sim:latest",worker="{running.worker.address}"}}'
    assert after[f"drover_frontend_worker_ready{worker}"] == 1


def test_clients_cannot_create_metric_labels(running: Stack) -> None:
    for number in range(20):
        httpx.post(f"{running.url}/api/chat", json={"model": f"nonsense{number}"})
        httpx.get(f"{running.url}/nonsense/{number}")

    assert "nonsense" not in httpx.get(f"{running.url}/metrics").text


def test_a_stream_has_headers_against_buffering_proxies(running: Stack) -> None:
    answer = httpx.post(f"{running.url}/api/chat", json=_chat(2), timeout=20)

    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.headers["cache-control"] == "no-cache"


def test_a_request_that_need_not_wait_reports_no_queue(running: Stack) -> None:
    assert httpx.get(f"{running.url}/api/queue", params={"id": "missing"}).status_code == 404
    assert httpx.get(f"{running.url}/api/queue").status_code == 400


def test_a_position_and_the_wait_are_reported(running: Stack) -> None:
    """One runs, one waits at the worker, and three wait in the frontend."""

    def ask(number: int) -> httpx.Response:
        headers = {"x-request-id": f"r{number}"}
        url = f"{running.url}/api/chat"
        return httpx.post(url, json=_chat(60, stream=False), headers=headers, timeout=60)

    with ThreadPoolExecutor(5) as pool, httpx.Client(base_url=running.url) as http:
        asked = [pool.submit(ask, number) for number in range(5)]
        seen: list[dict[str, object]] = []

        def is_seen() -> bool:
            answers = [http.get("/api/queue", params={"id": f"r{number}"}) for number in range(5)]
            seen.extend(answer.json() for answer in answers if answer.status_code == 200)
            return bool(seen)

        wait_until(is_seen, _DEADLINE_SECONDS, "some of them wait")
        counted = _metrics(running)['drover_frontend_waiting_requests{model="sim:latest"}']
        answers = [each.result() for each in asked]

    assert 1 <= counted <= 3
    assert set(seen[0]) == {"id", "position", "waiting", "expected_wait_seconds"}
    waited = [answer.headers for answer in answers if "x-drover-queue-position" in answer.headers]
    assert sorted(int(headers["x-drover-queue-position"]) for headers in waited) == [1, 2, 3]
    assert all(float(headers["x-drover-queue-seconds"]) > 0 for headers in waited)


def test_clients_that_use_one_id_see_their_own_requests(running: Stack) -> None:
    def ask(key: str) -> httpx.Response:
        headers = {"x-request-id": "same", "authorization": f"Bearer {key}"}
        url = f"{running.url}/api/chat"
        return httpx.post(url, json=_chat(60, stream=False), headers=headers, timeout=60)

    def seen_by(key: str) -> dict[str, object]:
        headers = {"authorization": f"Bearer {key}"}
        answer = httpx.get(f"{running.url}/api/queue", params={"id": "same"}, headers=headers)
        return dict(answer.json())

    with ThreadPoolExecutor(4) as pool:
        asked = []
        for number, key in enumerate(("runs", "waits there", "one", "two")):
            asked.append(pool.submit(ask, key))
            wait_until(lambda: _here(running) == number + 1, _DEADLINE_SECONDS, "it is there")  # noqa: B023 - called at once
        positions = [seen_by(key)["position"] for key in ("one", "two", "a monitor")]
        announced = [answer.result().headers.get("x-drover-queue-position") for answer in asked]

    assert positions == [1, 2, 1]
    assert announced == [None, None, "1", "2"]


def _here(running: Stack) -> float:
    """At the worker and in the queue."""
    names = ("drover_frontend_running_requests", "drover_frontend_waiting_requests")
    return sum(value for name, value in _metrics(running).items() if name.startswith(names))


def test_parallel_choices_report_no_more_queue_time_than_the_response_took(running: Stack) -> None:
    request = {"model": "sim", "messages": _HELLO, "max_tokens": 20, "n": 5}
    began = time.monotonic()
    answer = httpx.post(f"{running.url}/v1/chat/completions", json=request, timeout=60)

    assert 0 < float(answer.headers["x-drover-queue-seconds"]) < time.monotonic() - began


def test_a_worker_reports_its_engines_capabilities(running: Stack) -> None:
    httpx.post(f"{running.url}/api/chat", json=_chat(5, stream=False), timeout=20)
    text = httpx.get(f"http://{METRICS}/metrics").text

    assert 'drover_worker_running_limit{model="sim:latest"} 1.0' in text
    assert 'drover_worker_frontends{model="sim:latest"} 1.0' in text
    assert "drover_worker_decode_tokens_total{" in text
