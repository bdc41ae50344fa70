"""`make up` as a laptop has it: one frontend behind its port, and workers with the embedded model."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import httpx
import ollama
import pytest

from tests.deploy.stack import Container, Stack
from tests.support.waiting import wait_until

MODEL = "smollm2:135m"
QUESTION = [{"role": "user", "content": "What is the capital of France?"}]
_JOIN_SECONDS = 20.0


@pytest.fixture(scope="module", autouse=True)
def said(stack: Stack) -> str:
    return stack.up(FRONTENDS=1, WORKERS=1)


def _chat(stack: Stack) -> str:
    with ollama.Client(host=stack.url, timeout=60) as client:
        parts = client.chat(MODEL, QUESTION, stream=True, options={"temperature": 0})
        return "".join(part.message.content or "" for part in parts)


def _ready_workers(stack: Stack) -> int:
    metrics = httpx.get(f"{stack.url}/metrics", timeout=5, trust_env=False).text
    return len(re.findall(r"^drover_frontend_worker_ready\{.*\} 1\.0$", metrics, re.MULTILINE))


def _only(stack: Stack, service: str) -> Container:
    (container,) = stack.containers(service)
    return container


def test_make_up_prints_the_address(stack: Stack, said: str) -> None:
    assert f"Drover is ready: {stack.url} (frontends: 1, workers: 1)" in said
    assert not stack.containers("proxy")
    assert not stack.containers("postgres")


def test_a_chat_is_answered(stack: Stack) -> None:
    assert _chat(stack) == "The capital of France is Paris."


def test_only_the_frontend_is_published_and_on_loopback_only(stack: Stack) -> None:
    def ports(service: str) -> Mapping[str, object]:
        settings = cast(dict[str, object], stack.inspect(_only(stack, service).name)["NetworkSettings"])
        return {port: to for port, to in cast(dict[str, object], settings["Ports"]).items() if to}

    assert ports("frontend") == {"11434/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(stack.port)}]}
    assert ports("worker") == {}


def test_workers_reach_nothing_but_frontends(stack: Stack) -> None:
    worker = _only(stack, "worker")
    assert list(worker.addresses) == ["fleet"]
    assert stack.inspect(f"{stack.project}_fleet")["Internal"] is True


@pytest.mark.parametrize("service", ["frontend", "worker"])
def test_both_tiers_say_that_they_listen_to_everybody(stack: Stack, service: str) -> None:
    log = stack.docker("logs", _only(stack, service).name, check=False)
    assert "OPEN TO THE NETWORK" in log


def test_both_tiers_have_metrics(stack: Stack) -> None:
    _chat(stack)
    frontend = httpx.get(f"{stack.url}/metrics", timeout=5, trust_env=False).text
    served = re.search(r'drover_frontend_requests_total\{.*route="/api/chat".*\} (\d+)', frontend)
    assert served
    assert int(served[1]) >= 1
    address = _only(stack, "worker").addresses["fleet"]
    worker = httpx.get(f"http://{address}:9464/metrics", timeout=5, trust_env=False).text
    decoded = re.search(rf'drover_worker_decode_tokens_total\{{model="{MODEL}"\}} (\d+)', worker)
    assert decoded
    assert int(decoded[1]) > 0


def test_workers_are_scaled_while_the_frontend_runs_on(stack: Stack) -> None:
    before = _only(stack, "frontend"), _only(stack, "worker")
    stack.up(WORKERS=2)

    assert _only(stack, "frontend") == before[0]
    assert stack.containers("worker")[0] == before[1]
    wait_until(lambda: _ready_workers(stack) == 2, _JOIN_SECONDS, "the frontend finds both by their name")

    stack.up(WORKERS=1)
    assert (_only(stack, "frontend"), _only(stack, "worker")) == before
    wait_until(lambda: _ready_workers(stack) == 1, _JOIN_SECONDS, "the other one is forgotten")
    assert _chat(stack) == "The capital of France is Paris."


def test_several_frontends_on_sqlite_are_refused(stack: Stack) -> None:
    before = _only(stack, "frontend")
    refused = stack.make("up", FRONTENDS=2, DATABASE_URL="sqlite:////var/lib/drover/presets.sqlite3")

    assert refused.returncode != 0
    assert "several frontends cannot share a file of SQLite" in refused.stderr
    assert _only(stack, "frontend") == before
