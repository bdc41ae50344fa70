"""llama.cpp's own metrics at the worker's metrics address, also while the model is unloaded."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from drover.v1 import engine_pb2 as pb
from tests.support.chat_requests import chat
from tests.support.engine_client import engine_client
from tests.support.processes import Process, free_port, worker

pytestmark = pytest.mark.real_model
_MODEL = '{model="smol:latest"}'


@pytest.fixture(scope="module")
def metrics() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def process(metrics: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    flags = ("--engine", "llamacpp", "--name", "smol", "--context-length", "512", "--slots", "2")
    log = tmp_path_factory.mktemp("metrics") / "worker.log"
    with worker(log, *flags, "--metrics-listen", metrics) as running:
        yield running


def _page(address: str) -> str:
    return httpx.get(f"http://{address}/metrics", timeout=10).text


def _value(page: str, series: str) -> float:
    (line,) = [line for line in page.splitlines() if line.startswith(f"{series} ")]
    return float(line.rpartition(" ")[2])


async def test_they_count_what_the_engine_does(process: Process, metrics: str) -> None:
    tokens = f"llamacpp:tokens_predicted_total{_MODEL}"
    before = _value(_page(metrics), tokens)
    async with engine_client(process.address) as engine:
        _, done = await engine.text(chat("Tell me about the sea.", max_tokens=10))
    page = _page(metrics)

    assert _value(page, tokens) - before == done.completion_tokens == 10
    assert f"llamacpp:requests_processing{_MODEL} 0.0" in page
    assert 'drover_worker_decode_tokens_total{model="smol:latest"}' in page
    families = [family.name for family in text_string_to_metric_families(page)]
    assert len(families) == len(set(families))


async def test_a_stopped_llamacpp_does_not_hide_the_workers_metrics(process: Process, metrics: str) -> None:
    (child,) = psutil.Process(process.pid).children()
    child.send_signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        page = _page(metrics)
        took_seconds = time.monotonic() - began
    finally:
        child.send_signal(signal.SIGCONT)

    assert took_seconds < 6
    assert f"drover_worker_loaded{_MODEL} 1.0" in page
    assert "llamacpp:" not in page
    assert "llamacpp:" in _page(metrics)


async def test_an_unloaded_model_has_none(process: Process, metrics: str) -> None:
    async with engine_client(process.address) as engine:
        await engine.stub.Unload(pb.UnloadRequest())
        page = _page(metrics)
        while f"drover_worker_loaded{_MODEL} 0.0" not in page:
            page = _page(metrics)
        assert "llamacpp:" not in page
        await engine.stub.Load(pb.LoadRequest())
    assert "llamacpp:" in _page(metrics)
