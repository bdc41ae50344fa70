"""Prometheus' own tool over alert rules, their tests, the example configuration and both tiers' metrics."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine_worker import metrics as worker_metrics
from frontend.observability import metrics as frontend_metrics
from tests.support.processes import ROOT, free_port, stack, worker

_FOLDER = ROOT / "deploy" / "observability"
_PROMPT = [{"role": "user", "content": "hello"}]


def _promtool(*arguments: str, given: str = "") -> str:
    """Its output. scripts/with_promtool.sh says where it is."""
    ran = subprocess.run(
        [os.environ["DROVER_PROMTOOL"], *arguments],
        cwd=_FOLDER,
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    output = ran.stdout + ran.stderr
    assert ran.returncode == 0, output
    return output


def test_the_rules_are_valid() -> None:
    assert "rules found" in _promtool("check", "rules", "alerts.yaml")


def test_the_rules_fire_when_they_should() -> None:
    assert "SUCCESS" in _promtool("test", "rules", "alerts_test.yaml")


def test_the_example_configuration_is_valid() -> None:
    assert "is valid" in _promtool("check", "config", "prometheus.yaml")


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What both tiers expose after answers, errors and a client that left."""
    address = f"127.0.0.1:{free_port()}"
    flags = ("--engine", "simulator", "--model", "sim", "--metrics-listen", address)
    with (
        stack(tmp_path_factory.mktemp("promtool"), flags) as running,
        httpx.Client(base_url=running.url, timeout=30) as http,
    ):
        assert http.post("/api/chat", json={"model": "sim", "messages": _PROMPT}).status_code == 200
        assert http.post("/v1/messages", json={"model": "none", "messages": []}).status_code >= 400
        assert http.post("/api/chat", json={"model": "none", "messages": _PROMPT}).status_code == 404
        assert http.get("/nothing").status_code == 404
        with http.stream("POST", "/api/chat", json={"model": "sim", "messages": _PROMPT}) as answer:
            next(answer.iter_lines())
        yield {"frontend": http.get("/metrics").text, "worker": httpx.get(f"http://{address}/metrics").text}


@pytest.mark.parametrize("tier", ["frontend", "worker"])
def test_the_metrics_follow_prometheus_conventions(scraped: dict[str, str], tier: str) -> None:
    assert _promtool("check", "metrics", given=scraped[tier]) == ""


@pytest.mark.real_model
def test_an_engines_own_metrics_are_valid_next_to_the_workers(tmp_path: Path) -> None:
    """promtool objects to the colon in an engine's names, which are its own."""
    address = f"127.0.0.1:{free_port()}"
    flags = ("--engine", "llamacpp", "--name", "smol", "--context-length", "512", "--metrics-listen", address)
    with worker(tmp_path / "worker.log", *flags):
        page = httpx.get(f"http://{address}/metrics", timeout=10).text

    assert "llamacpp:prompt_tokens_total" in page
    assert _promtool("check", "metrics", given=page.replace("llamacpp:", "llamacpp_")) == ""


def test_the_scrape_has_what_is_documented(scraped: dict[str, str]) -> None:
    for metric in frontend_metrics.METRICS:
        assert f"# TYPE {metric.exposed_name} {metric.kind}" in scraped["frontend"]
    for worker_metric in worker_metrics.METRICS:
        assert f"# TYPE {worker_metric.exposed_name} {worker_metric.kind}" in scraped["worker"]


def test_a_rule_with_a_mistake_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("groups: [{name: x, rules: [{alert: X, expr: 'sum by (', for: 1m}]}]\n")
    with pytest.raises(AssertionError, match=r"parse error|could not parse"):
        _promtool("check", "rules", str(wrong))
