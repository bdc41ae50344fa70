"""Models on demand: a worker host and frontends as processes, with simulated models."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from drover.tls.files import TlsFiles
from tests.support.certificates import Authority
from tests.support.hosts import host, put_simulated, worker_pids
from tests.support.processes import Process, frontend
from tests.support.waiting import wait_until

# Two of the three fit.
FLAGS = ("--memory-mib", "250", "--min-residency-seconds", "0.5", "--drain-seconds", "5")
MODELS = ("one", "two", "three")
SECONDS = 20.0
_STABLE = ("name", "digest", "size", "modified_at")
TOKENS = 300
LONG = ("--sim-answer-tokens-min", "300", "--sim-answer-tokens-max", "300")


@dataclass
class Hosted:
    store: Path
    host: Process
    frontend: Process
    client: httpx.Client

    def generate(self, model: str, tokens: int = 5, **more: object) -> httpx.Response:
        body = {"model": model, "prompt": "Hello", "stream": False, "options": {"num_predict": tokens}}
        return self.client.post("/api/generate", json=body | more)

    @contextmanager
    def stream(self, model: str) -> Iterator[Iterator[dict[str, Any]]]:
        """The lines of a response of TOKENS tokens, as they come."""
        body = {"model": model, "prompt": "Hello", "options": {"num_predict": TOKENS}}
        with self.client.stream("POST", "/api/generate", json=body) as answer:
            assert answer.status_code == 200
            yield (json.loads(line) for line in answer.iter_lines())

    def loaded(self) -> set[str]:
        return {each["model"] for each in self.client.get("/api/ps").json()["models"]}


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    store = tmp_path / "store"
    put_simulated(store, MODELS, 100, *LONG)
    with (
        host(tmp_path / "host.log", store, *FLAGS) as one,
        frontend(tmp_path / "frontend.log", [], "--hosts", one.address) as front,
        httpx.Client(base_url=f"http://{front.address}", timeout=SECONDS) as client,
    ):
        yield Hosted(store, one, front, client)
    for pid in worker_pids(store):
        os.kill(pid, signal.SIGKILL)


def test_a_stored_model_is_loaded_for_its_first_request(hosted: Hosted) -> None:
    tags = hosted.client.get("/api/tags").json()["models"]
    assert {model["model"] for model in tags} == {f"{model}:latest" for model in MODELS}
    assert hosted.loaded() == set()
    first = hosted.generate("one").json()
    assert first["eval_count"] == 5
    # The worker's start takes some tenths of a second, which the second request does not wait for.
    assert first["load_duration"] > 100_000_000
    assert hosted.generate("one").json()["load_duration"] < 50_000_000
    assert hosted.loaded() == {"one:latest"}
    # A load teaches what the model can do, and changes nothing else.
    for before, after in zip(tags, hosted.client.get("/api/tags").json()["models"], strict=True):
        assert [after[field] for field in _STABLE] == [before[field] for field in _STABLE]


def test_models_that_do_not_fit_together_take_turns(hosted: Hosted) -> None:
    """All requests are answered, whatever must make room for them, and memory holds."""
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(hosted.generate, [MODELS[number % 3] for number in range(24)]))
    assert [answer.status_code for answer in answers] == [200] * 24
    assert len(hosted.loaded()) <= 2


def test_keep_alive_and_stop_end_the_worker(hosted: Hosted) -> None:
    hosted.generate("one", keep_alive=-1)
    hosted.generate("two", keep_alive="300ms")
    wait_until(lambda: hosted.loaded() == {"one:latest"}, SECONDS, "the keep-alive of one model has expired")
    # What `ollama stop` sends.
    assert hosted.client.post("/api/generate", json={"model": "one", "keep_alive": 0}).json()["done"]
    wait_until(lambda: hosted.loaded() == set(), SECONDS, "the other one is stopped")
    wait_until(lambda: worker_pids(hosted.store) == [], SECONDS, "their workers have ended")
    # It is routine, and no warning.
    wait_until(
        lambda: hosted.frontend.log_text().count("worker left") == 2, SECONDS, "both are seen to leave"
    )
    assert "worker lost" not in hosted.frontend.log_text()


def test_an_empty_request_preloads(hosted: Hosted) -> None:
    answer = hosted.client.post("/api/generate", json={"model": "two"}).json()
    assert answer["done_reason"] == "load"
    assert hosted.loaded() == {"two:latest"}


def test_a_model_that_is_too_large_is_refused_with_both_numbers(tmp_path: Path) -> None:
    store = tmp_path / "store"
    put_simulated(store, ["large"], memory_mib=300)
    with (
        host(tmp_path / "host.log", store, *FLAGS) as one,
        frontend(tmp_path / "frontend.log", [], "--hosts", one.address) as front,
    ):
        body = {"model": "large", "prompt": "Hello"}
        answer = httpx.post(f"http://{front.address}/api/generate", json=body, timeout=SECONDS)
    assert answer.status_code == 503
    assert "needs 300 MiB" in answer.json()["error"]
    assert "has 250 MiB" in answer.json()["error"]


def test_with_mutual_tls_only_frontends_are_served(tmp_path: Path) -> None:
    store = tmp_path / "store"
    put_simulated(store, MODELS)
    authority = Authority.make(tmp_path)
    workers = authority.sign(tmp_path / "worker", "DNS:worker.drover")
    frontends = authority.sign(tmp_path / "frontend", "DNS:frontend.drover")
    with (
        host(tmp_path / "host.log", store, *FLAGS, *_tls(workers)) as one,
        frontend(tmp_path / "right.log", [], "--hosts", one.address, *_tls(frontends)) as right,
        frontend(tmp_path / "wrong.log", [], "--hosts", one.address, *_tls(workers), ready=False) as wrong,
    ):
        body = {"model": "one", "prompt": "Hello", "stream": False}
        answer = httpx.post(f"http://{right.address}/api/generate", json=body, timeout=SECONDS)
        assert answer.status_code == 200
        assert httpx.get(f"http://{wrong.address}/readyz").status_code == 503
        assert "is for worker.drover, and not for frontend.drover" in wrong.log_text()


def _tls(files: TlsFiles) -> list[str]:
    flags = zip(
        ("certificate", "key", "authority"), (files.certificate, files.key, files.authority), strict=True
    )
    return [part for name, path in flags for part in (f"--fleet-tls-{name}", str(path))]


def test_a_worker_that_dies_is_started_again_and_its_stream_resumes(hosted: Hosted) -> None:
    with hosted.stream("one") as lines:
        next(lines)
        (pid,) = worker_pids(hosted.store)
        os.kill(pid, signal.SIGKILL)
        assert list(lines)[-1]["eval_count"] == TOKENS


def test_a_host_that_is_killed_leaves_its_workers_and_finds_them_again(
    hosted: Hosted, tmp_path: Path
) -> None:
    with hosted.stream("one") as lines:
        next(lines)
        before = worker_pids(hosted.store)
        hosted.host.signal(signal.SIGKILL)
        hosted.host.wait()
        assert list(lines)[-1]["eval_count"] == TOKENS
    # While the host is away its workers serve.
    assert hosted.generate("one").status_code == 200
    with host(tmp_path / "host2.log", hosted.store, *FLAGS, address=hosted.host.address):
        wait_until(lambda: hosted.generate("two").status_code == 200, SECONDS, "the host loads models again")
        assert hosted.loaded() == {"one:latest", "two:latest"}
        assert set(before) < set(worker_pids(hosted.store))
