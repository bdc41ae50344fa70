"""A model that is removed while one of its hosts is away does not come back with that host."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx

from tests.support.hosts import host, put_simulated, worker_pids
from tests.support.processes import frontend
from tests.support.waiting import wait_until

FLAGS = ("--memory-mib", "250", "--min-residency-seconds", "0.5", "--drain-seconds", "5")
SECONDS = 30.0


def test_a_model_that_is_removed_while_a_host_is_killed(tmp_path: Path) -> None:
    """Both hosts have it, and the one that is killed has it in memory, in a worker that lives on."""
    stores = [tmp_path / "store-0", tmp_path / "store-1"]
    for store in stores:
        put_simulated(store, ["one", "two"])
    files = [_blobs(store) for store in stores]
    with ExitStack() as running:
        hosts = [
            running.enter_context(host(tmp_path / f"host-{number}.log", store, *FLAGS))
            for number, store in enumerate(stores)
        ]
        addresses = ",".join(each.address for each in hosts)
        urls = [
            f"http://{running.enter_context(frontend(tmp_path / log, [], '--hosts', addresses)).address}"
            for log in ("one.log", "other.log")
        ]
        for store in stores:
            running.callback(_kill_workers, store)
        assert _generate(urls[0], "one").status_code == 200
        (loaded,) = [number for number, store in enumerate(stores) if worker_pids(store)]
        hosts[loaded].signal(signal.SIGKILL)
        hosts[loaded].wait()
        wait_until(lambda: "host lost" in (tmp_path / "one.log").read_text(), SECONDS, "the frontend sees it")

        assert _delete(urls[0], "one").status_code == 200
        for url in urls:
            wait_until(partial(_lists_only_two, url), SECONDS, "it is listed nowhere")
            assert _generate(url, "one").status_code == 404
        wait_until(
            lambda: _blobs(stores[1 - loaded]) < files[1 - loaded], SECONDS, "one host frees its files"
        )
        assert _blobs(stores[loaded]) == files[loaded]

        again = tmp_path / "again.log"
        running.enter_context(host(again, stores[loaded], *FLAGS, address=hosts[loaded].address))
        wait_until(
            lambda: _blobs(stores[loaded]) < files[loaded], SECONDS, "the other one, too, when it is back"
        )
        wait_until(lambda: not worker_pids(stores[loaded]), SECONDS, "the model's worker has ended")
        for url in urls:
            assert _names(url) == {"two:latest"}
            assert _generate(url, "one").status_code == 404
            assert _generate(url, "two").status_code == 200


def _generate(url: str, model: str) -> httpx.Response:
    body = {"model": model, "prompt": "Hello", "stream": False, "options": {"num_predict": 3}}
    return httpx.post(f"{url}/api/generate", json=body, timeout=SECONDS)


def _delete(url: str, model: str) -> httpx.Response:
    return httpx.request("DELETE", f"{url}/api/delete", json={"model": model}, timeout=SECONDS)


def _lists_only_two(url: str) -> bool:
    return _names(url) == {"two:latest"}


def _names(url: str) -> set[str]:
    return {each["name"] for each in httpx.get(f"{url}/api/tags", timeout=SECONDS).json()["models"]}


def _blobs(store: Path) -> set[str]:
    return {path.name for path in (store / "blobs").iterdir()}


def _kill_workers(store: Path) -> None:
    for pid in worker_pids(store):
        os.kill(pid, signal.SIGKILL)
