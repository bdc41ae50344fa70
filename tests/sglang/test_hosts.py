"""A worker host that serves a model of safetensors files with SGLang."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path

import httpx

from drover.names import ModelName
from engine_worker import default_model
from engine_worker.host.store.manifest import FILE, Layer, Manifest
from engine_worker.host.store.store import Store
from tests.support.adapters import matrices, write_peft_adapter
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


def create_pirate(client: httpx.Client, folder: Path) -> None:
    write_peft_adapter(folder, matrices("Ġpirate"))
    adapters = {}
    for path in folder.iterdir():
        digest = f"sha256:{hashlib.sha256(data := path.read_bytes()).hexdigest()}"
        assert client.post(f"/api/blobs/{digest}", content=data).status_code == 201
        adapters[path.name] = digest
    body = {"model": "pirate", "from": "smol", "adapters": adapters, "stream": False}
    assert client.post("/api/create", json=body).json() == {"status": "success"}


def descendants(pid: int) -> list[int]:
    found = []
    for child in (
        int(each)
        for path in Path(f"/proc/{pid}/task").glob("*/children")
        for each in path.read_text().split()
    ):
        found += [child, *descendants(child)]
    return found


def runs(pid: int) -> bool:
    """Zombies do not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_safetensors_and_an_adapter_are_served_on_demand_and_end_with_their_keep_alive(
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    put_embedded(store)
    settings = json.dumps({"smol": {"adapters": True, "flags": [SMALL_CACHE, "--context-length", "1024"]}})
    flags = ("--sglang-python", sglang_python(), "--model-settings", settings, "--memory-mib", "8000")
    with (
        host(tmp_path / "host.log", store, *flags) as one,
        frontend(tmp_path / "frontend.log", [], "--hosts", one.address) as front,
        httpx.Client(base_url=f"http://{front.address}", timeout=SECONDS) as client,
    ):
        question = [{"role": "user", "content": "What is the capital of France?"}]
        body = {"model": "smol", "messages": question, "stream": False, "options": {"temperature": 0}}
        answer = client.post("/api/chat", json=body)
        assert "Paris" in answer.json()["message"]["content"]
        assert answer.json()["load_duration"] > 1_000_000_000
        create_pirate(client, tmp_path / "adapter")
        body |= {"model": "pirate", "options": {"temperature": 0, "num_predict": 5}, "keep_alive": "2s"}
        assert client.post("/api/chat", json=body).json()["message"]["content"] == " pirate" * 5
        (pid,) = worker_pids(store)
        tree = [pid, *descendants(pid)]
        assert len(tree) > 2, "SGLang has processes of its own"
        wait_until(lambda: worker_pids(store) == [], 60, "the worker ends with its keep-alive")
        assert [each for each in tree if runs(each)] == []
    for pid in worker_pids(store):
        os.kill(pid, signal.SIGKILL)
