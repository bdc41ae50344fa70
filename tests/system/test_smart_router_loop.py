"""Two frontends that name each other's virtual models: a request goes round once, not for ever."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.processes import free_port, frontend, worker
from tests.support.waiting import wait_until
from tests.system.routers import served, side

# Everything is complex, so that each sends to the other one; `other` is the other one's `auto`.
ROUTER = {"simple": "small", "complex": "other", "judge": "small", "long_characters": 1}


def _has_all(url: str) -> bool:
    return {"small", "auto", "other"} <= served(url)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    folder: Path = tmp_path_factory.mktemp("loop")
    (folder / "small.json").write_text(json.dumps(side("small")))
    play = ("--engine=simulator", "--model=small", f"--sim-script={folder / 'small.json'}")
    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    with ExitStack() as processes:
        small = processes.enter_context(worker(folder / "small.log", *play))
        for number, (own, other) in enumerate(zip(addresses, reversed(addresses), strict=True)):
            workers = [small.address, f"ollama:http://{other}/auto#other"]
            flags = ("--smart-routers", json.dumps({"auto": ROUTER}))
            processes.enter_context(frontend(folder / f"{number}.log", workers, *flags, address=own))
        urls = (f"http://{addresses[0]}", f"http://{addresses[1]}")
        for url in urls:
            wait_until(partial(_has_all, url), 30, "all are there")
        yield urls


@pytest.mark.parametrize("stream", [True, False])
def test_a_request_that_loops_back_is_served_locally(pair: tuple[str, str], stream: bool) -> None:
    body = {"model": "auto", "messages": [{"role": "user", "content": "hello"}], "stream": stream}
    for url in pair:
        answer = httpx.post(f"{url}/api/chat", json=body, timeout=10)
        assert answer.status_code == 200
        said = [json.loads(line)["message"]["content"] for line in answer.text.splitlines()]
        assert "".join(said) == "small says"


def test_a_request_for_a_side_that_loops_back_is_served_locally(pair: tuple[str, str]) -> None:
    """No side was named to the other one, which may fall back."""
    body = {"model": "auto:remote", "messages": [{"role": "user", "content": "hello"}], "stream": False}
    answer = httpx.post(f"{pair[0]}/api/chat", json=body, timeout=10)
    assert answer.json()["message"]["content"] == "small says"


def test_loading_and_unloading_end(pair: tuple[str, str]) -> None:
    for keep_alive in (60, 0):
        body = {"model": "auto", "keep_alive": keep_alive}
        assert httpx.post(f"{pair[0]}/api/generate", json=body, timeout=10).status_code == 200
