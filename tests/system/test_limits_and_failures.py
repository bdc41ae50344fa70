"""Configured limits, and slow, missing or dying workers: responses follow the contract."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import httpx
import pytest

from tests.support.engine_client import engine_client
from tests.support.processes import free_port, frontend, stack, worker
from tests.support.waiting import until

SIMULATOR = ("--engine", "simulator", "--model", "sim")
LONG = ("--sim-answer-tokens-min", "2000", "--sim-answer-tokens-max", "2000")
HELLO = {"model": "sim", "messages": [{"role": "user", "content": "hello"}]}


def test_bodies_have_a_limit(tmp_path: Path) -> None:
    with (
        stack(tmp_path, SIMULATOR, ("--max-body-bytes", "1000")) as running,
        httpx.Client(base_url=running.url) as http,
    ):
        assert http.post("/api/chat", content=b"x" * 1000).status_code == 400
        announced = http.post("/api/chat", content=b"x" * 1001)
        chunked = http.post("/api/chat", content=iter([b"x" * 600, b"x" * 600]))
        for answer in (announced, chunked):
            assert answer.status_code == 413
            assert answer.json() == {"error": "request body too large: this server takes at most 1000 bytes"}
        assert http.post("/api/chat", json={**HELLO, "stream": False}).status_code == 200


def test_huge_garbage_stops_no_process(tmp_path: Path) -> None:
    """30 MB of rubbish that Go would have to read to its end is refused, and others are served meanwhile."""
    with stack(tmp_path, SIMULATOR) as running, httpx.Client(base_url=running.url, timeout=60) as http:
        answer = http.post("/api/chat", content=b'{"model":"sim","messages":["' + b"a" * 30_000_000)
        assert (answer.status_code, answer.json()) == (400, {"error": "unexpected EOF"})
        assert http.get("/api/version").status_code == 200


@pytest.mark.parametrize("asked", [{}, {"num_predict": 50}, {"num_predict": -1}])
def test_max_output_tokens_ends_as_length(tmp_path: Path, asked: dict[str, int]) -> None:
    with stack(tmp_path, (*SIMULATOR, *LONG), ("--max-output-tokens", "7")) as running:
        answer = httpx.post(
            f"{running.url}/api/chat", json={**HELLO, "stream": False, "options": asked}
        ).json()
    assert (answer["done_reason"], answer["eval_count"]) == ("length", 7)


async def test_request_timeout_before_the_first_token(tmp_path: Path) -> None:
    stalled = (*SIMULATOR, "--sim-stall-prefill-after-tokens", "5")
    with stack(tmp_path, stalled, ("--request-timeout-seconds", "0.5")) as running:
        async with (
            httpx.AsyncClient(base_url=running.url) as http,
            engine_client(running.worker.address) as engine,
        ):
            answer = await http.post("/api/chat", json=HELLO)
            assert answer.status_code == 504
            assert answer.json() == {"error": "the request took longer than 0.5 seconds"}
            await until(engine.idle, 1, "the slot is free again")


async def test_request_timeout_in_mid_stream(tmp_path: Path) -> None:
    stalled = (*SIMULATOR, *LONG, "--sim-stall-decode-after-tokens", "3")
    with stack(tmp_path, stalled, ("--request-timeout-seconds", "0.5")) as running:
        async with (
            httpx.AsyncClient(base_url=running.url) as http,
            engine_client(running.worker.address) as engine,
        ):
            answer = await http.post("/api/chat", json=HELLO)
            lines = [json.loads(line) for line in answer.text.splitlines()]
            assert answer.status_code == 200
            assert lines[-1] == {"error": "the request took longer than 0.5 seconds"}
            assert not any(line.get("done") for line in lines)
            await until(engine.idle, 1, "the slot is free again")


def test_a_full_queue_is_answered_with_ollamas_busy_error(tmp_path: Path) -> None:
    flags = (
        *SIMULATOR,
        "--sim-running-limit",
        "1",
        "--queue-limit",
        "0",
        "--sim-stall-decode-after-tokens",
        "2",
    )
    with (
        stack(tmp_path, flags, ("--max-queue", "0")) as running,
        httpx.Client(base_url=running.url) as http,
        http.stream("POST", "/api/chat", json=HELLO) as first,
    ):
        lines = first.iter_lines()
        next(lines)
        refused = http.post("/api/chat", json=HELLO)
    assert refused.status_code == 503
    assert refused.json() == {"error": "server busy, please try again.  maximum pending requests exceeded"}
    assert refused.headers["retry-after"] == "1"


def test_a_frontend_without_workers_is_not_ready(tmp_path: Path) -> None:
    with frontend(tmp_path / "f.log", [f"127.0.0.1:{free_port()}"], ready=False) as only:
        answer = httpx.post(f"http://{only.address}/api/chat", json=HELLO)
        assert (answer.status_code, list(answer.json())) == (503, ["error"])
        assert answer.headers["retry-after"] == "5"
        assert httpx.get(f"http://{only.address}/api/tags").json() == {"models": []}
        assert httpx.get(f"http://{only.address}/readyz").status_code == 503
        assert httpx.get(f"http://{only.address}/healthz").status_code == 200


async def test_a_worker_that_dies_in_mid_stream_is_reported_and_comes_back(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with (
        worker(tmp_path / "w1.log", *SIMULATOR, *LONG, address=address) as first,
        # So long the answer waits for the only worker to come back.
        frontend(tmp_path / "f.log", [address], "--move-wait-seconds", "1") as front,
    ):
        async with httpx.AsyncClient(base_url=f"http://{front.address}", timeout=10) as http:
            async with http.stream("POST", "/api/chat", json=HELLO) as answer:
                lines = answer.aiter_lines()
                await anext(lines)
                first.popen.kill()
                rest = [json.loads(line) async for line in lines]
            assert list(rest[-1]) == ["error"]
            assert not any(line.get("done") for line in rest)
            later = await http.post("/api/chat", json=HELLO)
            assert later.status_code == 503
            assert "error" in later.json()
            assert (await http.post("/api/chat", json={**HELLO, "model": "nope"})).status_code == 404
            with worker(tmp_path / "w2.log", *SIMULATOR, address=address):

                async def answers() -> bool:
                    return (await http.post("/api/chat", json=HELLO)).status_code == 200

                await until(answers, 5, "the new worker takes requests")


def test_a_script_that_fails_ends_with_an_error_line(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(
        json.dumps([{"match": "hello", "events": [{"text": "Hi "}, {"fail": "the engine broke"}]}])
    )
    with stack(tmp_path, (*SIMULATOR, "--sim-script", str(script))) as running:
        streamed = httpx.post(f"{running.url}/api/chat", json=HELLO)
        whole = httpx.post(f"{running.url}/api/chat", json={**HELLO, "stream": False})
    lines = [json.loads(line) for line in streamed.text.splitlines()]
    assert (streamed.status_code, lines[-1]) == (200, {"error": "the engine broke"})
    assert (whole.status_code, whole.json()) == (500, {"error": "the engine broke"})


@pytest.mark.parametrize("stream", [True, False])
async def test_at_the_frontends_drain_timeout_streams_end_with_the_contracts_error(
    tmp_path: Path, stream: bool
) -> None:
    stalled = (*SIMULATOR, "--sim-stall-decode-after-tokens", "2")
    with stack(tmp_path, stalled, ("--shutdown-grace-seconds", "0.5")) as running:
        async with (
            httpx.AsyncClient(base_url=running.url) as http,
            engine_client(running.worker.address) as engine,
        ):
            request = asyncio.create_task(http.post("/api/chat", json={**HELLO, "stream": stream}))
            await until(engine.busy, 5, "the request runs")
            running.frontend.signal(signal.SIGTERM)
            answer = await request
            await until(engine.idle, 1, "the slot is free again")
        assert running.frontend.wait() == 0
        assert "Traceback" not in running.frontend.log_text()
    assert answer.status_code == (200 if stream else 503)
    assert json.loads(answer.text.splitlines()[-1]) == {
        "error": "the server is shutting down: drain timeout reached"
    }


async def test_finished_requests_do_not_count_as_cancelled(tmp_path: Path) -> None:
    with stack(tmp_path, SIMULATOR) as running:
        async with httpx.AsyncClient(base_url=running.url) as http:
            for stream in [True, False] * 20:
                await http.post("/api/chat", json={**HELLO, "stream": stream, "options": {"num_predict": 2}})
    lines = [json.loads(line) for line in running.worker.log_text().splitlines()]
    requests = [line for line in lines if line["message"] == "request"]
    assert len(requests) == 40
    assert not [line for line in requests if "error" in line]


def test_workers_are_not_reached_through_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with stack(tmp_path, SIMULATOR) as running, httpx.Client(base_url=running.url, trust_env=False) as http:
        assert http.post("/api/chat", json={**HELLO, "stream": False}).status_code == 200


def test_far_too_many_messages_are_refused(tmp_path: Path) -> None:
    with stack(tmp_path, SIMULATOR) as running, httpx.Client(base_url=running.url, timeout=30) as http:
        answer = http.post("/api/chat", content=b'{"model":"sim","messages":[' + b"{}," * 400_000 + b"{}]}")
        assert (answer.status_code, answer.json()) == (
            400,
            {"error": "messages: 400001 are too many, at most 20000 are possible"},
        )
        many = {
            **HELLO,
            "messages": [{"role": "user", "content": "x"}] * 20_000,
            "options": {"num_predict": 1},
        }
        assert http.post("/api/chat", json=many).status_code == 200
