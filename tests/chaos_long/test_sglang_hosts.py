"""SGLang under a worker host: its worker is killed, its host is killed in mid-load, a load fails. No request
fails for the first two, and no process is left.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.hosts import host, worker_pids
from tests.support.processes import SGLANG_PYTHON, SMALL_CACHE, Process, free_port, frontend, sglang_python
from tests.support.sglang_hosts import create_pirate, have_ended, put_smol, tree_of
from tests.support.waiting import wait_until

SECONDS = 400.0
ARRR = " pirate" * 5


@pytest.fixture
def store(tmp_path: Path) -> Path:
    if SGLANG_PYTHON not in os.environ:
        pytest.fail(f"{SGLANG_PYTHON} is not set; make chaos sets it", pytrace=False)
    put_smol(tmp_path / "store")
    return tmp_path / "store"


@contextmanager
def serving(log: Path, store: Path, address: str, *flags: str) -> Iterator[Process]:
    settings = json.dumps({"smol": {"adapters": True, "flags": [*flags, "--context-length", "1024"]}})
    more = ("--sglang-python", sglang_python(), "--model-settings", settings, "--memory-mib", "8000")
    with host(log, store, *more, address=address) as one:
        yield one


def ask(client: httpx.Client, model: str) -> str:
    options = {"temperature": 0, "num_predict": 5}
    body = {"model": model, "prompt": "Once upon a time", "stream": False, "options": options}
    answer = client.post("/api/generate", json=body)
    return str(answer.json().get("response", answer.text))


def end_of(client: httpx.Client, store: Path) -> None:
    """Unload, and wait until nothing of the worker is left."""
    tree = tree_of(worker_pids(store)[0])
    client.post("/api/generate", json={"model": "smol", "keep_alive": 0})
    wait_until(
        lambda: have_ended(tree) and not worker_pids(store), SECONDS, "the worker's processes have ended"
    )


def test_an_adapter_survives_the_end_of_worker_and_host(store: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with (
        serving(tmp_path / "host.log", store, address, SMALL_CACHE) as one,
        frontend(tmp_path / "frontend.log", [], "--hosts", address) as front,
        httpx.Client(base_url=f"http://{front.address}", timeout=SECONDS) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        create_pirate(client, tmp_path / "adapter")
        assert ask(client, "pirate") == ARRR
        tree = tree_of(worker_pids(store)[0])
        assert len(tree) > 2, "SGLang has processes of its own"
        os.kill(tree[0].pid, signal.SIGKILL)
        wait_until(lambda: have_ended(tree), SECONDS, "its processes end with it")
        assert ask(client, "pirate") == ARRR
        end_of(client, store)

        asking = pool.submit(ask, client, "pirate")
        wait_until(lambda: bool(worker_pids(store)), SECONDS, "it loads")
        loading = worker_pids(store)
        one.signal(signal.SIGKILL)
        with serving(tmp_path / "second.log", store, address, SMALL_CACHE):
            assert asking.result() == ARRR
            assert worker_pids(store) == loading
            end_of(client, store)


def test_a_load_that_fails_leaves_nothing(store: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with (
        serving(tmp_path / "host.log", store, address, "--sglang-args=--quantization nosuch"),
        frontend(tmp_path / "frontend.log", [], "--hosts", address) as front,
        httpx.Client(base_url=f"http://{front.address}", timeout=SECONDS) as client,
    ):
        assert "cannot start: the sglang engine did not start" in ask(client, "smol")
        assert list((store / "workers").iterdir()) == []
