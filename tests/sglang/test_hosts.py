"""A worker host that serves a model of safetensors files with SGLang."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import httpx

from tests.support.hosts import host, worker_pids
from tests.support.processes import SMALL_CACHE, frontend, sglang_python
from tests.support.sglang_hosts import create_pirate, have_ended, put_smol, tree_of
from tests.support.waiting import wait_until

SECONDS = 300.0


def test_safetensors_and_an_adapter_are_served_on_demand_and_end_with_their_keep_alive(
    tmp_path: Path,
) -> None:
    store = tmp_path / "store"
    put_smol(store)
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
        tree = tree_of(worker_pids(store)[0])
        assert len(tree) > 2, "SGLang has processes of its own"
        wait_until(lambda: worker_pids(store) == [], 60, "the worker ends with its keep-alive")
        assert have_ended(tree)
    for pid in worker_pids(store):
        os.kill(pid, signal.SIGKILL)
