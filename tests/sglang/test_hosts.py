"""A worker host that serves a model of safetensors files with SGLang."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import httpx

from drover.names import ModelName
from engine_worker import default_model
from engine_worker.host.store.manifest import FILE, Layer, Manifest
from engine_worker.host.store.store import Store
from tests.support.hosts import host, worker_pids
from tests.support.processes import SMALL_CACHE, frontend, sglang_python
from tests.support.waiting import wait_until

SECONDS = 300.0


def put_embedded(folder: Path) -> None:
    """The files of the model that `make model` makes."""
    store = Store(folder)
    files = [path for path in default_model.safetensors_path().iterdir() if path.is_file()]
    layers = [Layer(FILE, store.blobs.put(data := path.read_bytes()), len(data), path.name) for path in files]
    name = ModelName.parse("smol")
    assert name is not None
    store.put(name, Manifest(layers))
    store.close()


def test_safetensors_are_served_on_demand_and_end_with_their_keep_alive(tmp_path: Path) -> None:
    store = tmp_path / "store"
    put_embedded(store)
    settings = json.dumps({"smol*": {"flags": [SMALL_CACHE, "--context-length", "1024"]}})
    flags = ("--sglang-python", sglang_python(), "--model-settings", settings, "--memory-mib", "8000")
    with (
        host(tmp_path / "host.log", store, *flags) as one,
        frontend(tmp_path / "frontend.log", [], "--hosts", one.address) as front,
        httpx.Client(base_url=f"http://{front.address}", timeout=SECONDS) as client,
    ):
        question = [{"role": "user", "content": "What is the capital of France?"}]
        body = {"model": "smol", "messages": question, "stream": False, "options": {"temperature": 0}}
        answer = client.post("/api/chat", json=body | {"keep_alive": "2s"})
        assert "Paris" in answer.json()["message"]["content"]
        assert answer.json()["load_duration"] > 1_000_000_000
        wait_until(lambda: worker_pids(store) == [], 60, "the worker ends with its keep-alive")
    for pid in worker_pids(store):
        os.kill(pid, signal.SIGKILL)
