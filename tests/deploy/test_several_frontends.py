"""`make up FRONTENDS=2 WORKERS=3`, and what may happen to it. The workers are simulators, for known texts."""

from __future__ import annotations

import asyncio
import json
import re
import time

import httpx
import ollama
import pytest

from tests.chaos.clients import Crowd, Seen, body
from tests.deploy.stack import Container, Stack
from tests.support.waiting import until, wait_until

TOKENS = 150
STREAMS = 6
_JOIN_SECONDS = 20.0


@pytest.fixture(scope="module", autouse=True)
def started(stack: Stack) -> None:
    # 25 tokens a second, and answers that end at their limit: they take six seconds.
    stack.set_worker(sim_decode_step_base_ms="40", sim_answer_tokens_min="5000", sim_answer_tokens_max="5000")
    stack.up(FRONTENDS=2, WORKERS=3, ENGINE="simulator", MODEL="sim")


def _at(frontend: Container) -> str:
    """The address of one frontend, without the proxy."""
    return f"http://{frontend.addresses['edge']}:11434"


def _metric(stack: Stack, name: str) -> int:
    """Of all frontends together."""
    pattern = re.compile(rf"^drover_frontend_{name}(?:\{{.*\}})? ([0-9.]+)$", re.MULTILINE)
    texts = [
        httpx.get(f"{_at(frontend)}/metrics", timeout=5, trust_env=False).text
        for frontend in stack.containers("frontend")
    ]
    return int(sum(float(value) for text in texts for value in pattern.findall(text)))


def _knows_three_workers(stack: Stack) -> bool:
    return _metric(stack, "worker_ready") == 3 * len(stack.containers("frontend"))


def _requests() -> list[dict[str, object]]:
    return [body(f"story {number}", TOKENS) for number in range(STREAMS)]


async def _undisturbed(stack: Stack) -> list[Seen]:
    crowd = Crowd(stack.url)
    crowd.send(_requests())
    return await crowd.all_seen()


async def _begun(stack: Stack, crowd: Crowd) -> None:
    await until(lambda: _metric(stack, "running_requests") == STREAMS, 10, "all streams run")
    # Some way into the answers, which take six seconds.
    await asyncio.sleep(1.5)
    assert not any(task.done() for task in crowd.tasks)


def _are_whole(seen: list[Seen], expected: list[Seen]) -> None:
    assert [each.error for each in seen] == [""] * STREAMS
    assert [each.content for each in seen] == [each.content for each in expected]
    assert all(each.done and each.done["eval_count"] == TOKENS for each in seen)


def test_the_ollama_client_talks_through_the_proxy(stack: Stack) -> None:
    with ollama.Client(host=stack.url, timeout=60) as client:
        assert [model.model for model in client.list().models] == ["sim:latest"]
        answer = client.chat("sim", [{"role": "user", "content": "hello"}], options={"num_predict": 8})
    assert answer.eval_count == 8


def test_the_proxy_holds_no_piece_back(stack: Stack) -> None:
    arrivals: list[float] = []
    began = time.monotonic()
    with httpx.stream(
        "POST", f"{stack.url}/api/chat", json=body("slowly", 50), timeout=30, trust_env=False
    ) as answer:
        for _ in answer.iter_lines():
            arrivals.append(time.monotonic() - began)
    # 50 tokens take two seconds.
    assert len(arrivals) > 25
    assert arrivals[-1] - arrivals[0] > 1.0


def test_both_frontends_get_requests(stack: Stack) -> None:
    for number in range(20):
        httpx.get(
            f"{stack.url}/api/version", headers={"x-request-id": f"n-{number}"}, timeout=5, trust_env=False
        )
    logs = [stack.docker("logs", each.name, check=False) for each in stack.containers("frontend")]
    assert all('"request_id":"n-' in log for log in logs)


def test_a_client_is_known_by_its_own_address_and_not_by_one_that_it_makes_up(stack: Stack) -> None:
    headers = {"x-forwarded-for": "198.51.100.7", "x-request-id": "who-am-i"}
    httpx.get(f"{stack.url}/api/version", headers=headers, timeout=5, trust_env=False)
    logs = "\n".join(stack.docker("logs", each.name, check=False) for each in stack.containers("frontend"))
    (line,) = [line for line in logs.splitlines() if "who-am-i" in line]
    client = json.loads(line)["client"]
    (proxy,) = stack.containers("proxy")
    assert client not in ("198.51.100.7", proxy.addresses["edge"], "")
    # Docker's own address on the network where the port is published.
    assert client.rpartition(".")[0] == proxy.addresses["outside"].rpartition(".")[0]


def test_a_preset_is_on_all_frontends(stack: Stack) -> None:
    with ollama.Client(host=stack.url, timeout=30) as client:
        client.create("pirate", from_="sim", system="You are a pirate.")

    def everywhere() -> bool:
        answers = [
            httpx.post(f"{_at(each)}/api/show", json={"model": "pirate"}, timeout=5, trust_env=False)
            for each in stack.containers("frontend")
        ]
        return [answer.status_code for answer in answers] == [200, 200]

    wait_until(everywhere, 10, "both know it")


async def test_a_killed_worker_loses_no_stream(stack: Stack) -> None:
    await until(lambda: _knows_three_workers(stack), _JOIN_SECONDS, "every frontend knows every worker")
    expected = await _undisturbed(stack)
    failovers = _metric(stack, "failovers_total")
    crowd = Crowd(stack.url)
    crowd.send(_requests())
    await _begun(stack, crowd)

    stack.docker("kill", stack.containers("worker")[0].name)

    _are_whole(await crowd.all_seen(), expected)
    assert _metric(stack, "failovers_total") > failovers
    assert len(stack.containers("worker")) == 2


async def test_scaling_down_in_mid_stream_loses_none(stack: Stack) -> None:
    """The killed one comes back first: `make up` repairs."""
    stack.up(ENGINE="simulator", MODEL="sim", WORKERS=3)
    await until(lambda: _knows_three_workers(stack), _JOIN_SECONDS, "every frontend knows every worker")
    expected = await _undisturbed(stack)
    frontends = stack.containers("frontend")
    crowd = Crowd(stack.url)
    crowd.send(_requests())
    await _begun(stack, crowd)

    await asyncio.to_thread(stack.up, ENGINE="simulator", MODEL="sim", WORKERS=1)

    _are_whole(await crowd.all_seen(), expected)
    assert len(stack.containers("worker")) == 1
    assert stack.containers("frontend") == frontends


def test_frontends_are_scaled_while_the_workers_run_on(stack: Stack) -> None:
    before = stack.containers("worker"), stack.containers("frontend"), stack.containers("postgres")
    stack.up(ENGINE="simulator", MODEL="sim", FRONTENDS=3)

    frontends = stack.containers("frontend")
    assert len(frontends) == 3
    assert (stack.containers("worker"), frontends[:2], stack.containers("postgres")) == before
    assert httpx.post(
        f"{_at(frontends[2])}/api/show", json={"model": "pirate"}, timeout=5, trust_env=False
    ).is_success


def test_a_killed_frontend_is_not_missed(stack: Stack) -> None:
    stack.docker("kill", stack.containers("frontend")[0].name)

    answers = [httpx.get(f"{stack.url}/api/tags", timeout=10, trust_env=False) for _ in range(20)]
    assert [answer.status_code for answer in answers] == [200] * 20
