"""Loads that run out of memory for real: the kernel kills them in a cgroup with a limit."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import httpx

from engine_worker import default_model
from engine_worker.host.models.embedded import put_embedded
from engine_worker.host.store.store import Store
from tests.support.hosts import host, put_simulated, worker_pids
from tests.support.memory_group import memory_group
from tests.support.processes import Process, frontend

SECONDS = 120.0
# The host and a simulated model need some 250 MiB; the real one, with its KV cache, 1.3 GiB.
LIMIT_BYTES = 700 << 20
SETTINGS = '{"smollm2*": {"slots": 12}}'


def test_a_load_that_the_kernel_kills(tmp_path: Path) -> None:
    """The reason with its numbers, not tried for ever; others go on; another host serves the request."""
    stores = [tmp_path / "small", tmp_path / "large"]
    for folder in stores:
        put_simulated(folder, ["sim"], memory_mib=10)
        store = Store(folder)
        put_embedded(store)
        store.close()
    flags = ("--memory-mib", "4000", "--model-settings", SETTINGS)
    body = {"prompt": "Hello", "stream": False, "options": {"num_predict": 3}}
    with memory_group(LIMIT_BYTES) as within:
        with (
            host(tmp_path / "small.log", stores[0], *flags, within=within) as small,
            host(tmp_path / "large.log", stores[1], *flags) as large,
            frontend(tmp_path / "one.log", [], "--hosts", small.address) as one,
            frontend(tmp_path / "both.log", [], "--hosts", f"{small.address},{large.address}") as both,
            httpx.Client(timeout=SECONDS) as client,
        ):

            def ask(address: str, model: str) -> httpx.Response:
                return client.post(f"http://{address}/api/generate", json=body | {"model": model})

            assert ask(one.address, "sim").status_code == 200
            failed = ask(one.address, default_model.NAME)
            assert failed.status_code >= 500
            assert "ran out of memory: this host had 4000 MiB of memory for it" in failed.json()["error"]
            assert "(signal 9)" in failed.json()["error"]
            # Once with little room, once with all that there is.
            assert _loads(small) == 2
            assert ask(one.address, "sim").status_code == 200
            loaded = client.get(f"http://{one.address}/api/ps").json()["models"]
            assert [each["model"] for each in loaded] == ["sim:latest"]
            assert ask(both.address, default_model.NAME).status_code == 200
            assert _loads(small) == 2
        for folder in stores:
            for pid in worker_pids(folder):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _loads(host: Process) -> int:
    return host.log_text().count(f'"loading a model","model":"{default_model.NAME}"')
