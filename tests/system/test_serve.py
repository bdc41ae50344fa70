"""`make serve`'s launcher, from start to Ctrl-C, with the real model."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import ollama
import psutil
import pytest

from tests.support.processes import free_port, launched

pytestmark = pytest.mark.real_model


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_serves_and_stops_all(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    began = time.monotonic()
    with launched(
        ["-m", "scripts.serve", "--port", str(port), "--store", str(tmp_path / "store")],
        f"127.0.0.1:{port}",
        tmp_path / "log",
    ) as process:
        while "Drover is ready" not in process.log_text():
            assert process.popen.poll() is None, process.log_text()
            assert time.monotonic() - began < 30
            time.sleep(0.05)
        with ollama.Client(host=f"http://127.0.0.1:{port}") as client:
            question = [{"role": "user", "content": "What is the capital of France?"}]
            answer = client.chat("smollm2:135m", question, options={"temperature": 0})
        assert "Paris" in (answer.message.content or "")
        children = psutil.Process(process.pid).children(recursive=True)
        # The frontend, the host, its worker and llama.cpp.
        assert len(children) == 4
        process.signal(number)
        assert process.wait() == 0
    assert not any(child.is_running() for child in children)
    log = process.log_text()
    assert f"http://127.0.0.1:{port}" in log
    assert "Traceback" not in log


def test_a_launcher_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    port = free_port()
    command = ["-m", "scripts.serve", "--port", str(port), "--engine", "simulator"]
    with launched(command, f"127.0.0.1:{port}", tmp_path / "log") as process:
        deadline = time.monotonic() + 30
        while "Drover is ready" not in process.log_text():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        children = psutil.Process(process.pid).children(recursive=True)
        process.popen.kill()
        _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_a_port_in_use_is_reported_before_a_model_is_loaded(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with launched(["-m", "scripts.serve", "--port", str(port)], "", tmp_path / "log") as process:
            assert process.wait(10) == 1
    assert f"port {port}" in process.log_text()
    assert "make serve PORT=" in process.log_text()


def test_a_worker_that_cannot_start_ends_everything(tmp_path: Path) -> None:
    command = ["-m", "scripts.serve", "--port", str(free_port()), "--model", "/nowhere/none.gguf"]
    with launched(command, "", tmp_path / "log") as process:
        assert process.wait(30) == 1
    assert "there is no such file" in process.log_text()
    assert "cannot serve: the worker ended" in process.log_text()
