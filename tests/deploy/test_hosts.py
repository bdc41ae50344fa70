"""`make up HOSTS=1`: a worker host whose models are in a volume, and stay there when its container goes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import ollama
import pytest

from tests.deploy.stack import Container, Stack
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.support.waiting import wait_until

_JOIN_SECONDS = 30.0
_START_SECONDS = 60.0
_LIMIT_MIB = 300


@pytest.fixture(scope="module", autouse=True)
def said(stack: Stack) -> str:
    return stack.up(FRONTENDS=1, HOSTS=1)


@pytest.fixture(scope="module")
def client(stack: Stack) -> Iterator[ollama.Client]:
    with ollama.Client(host=stack.url, timeout=120) as client:
        yield client


def _host(stack: Stack) -> Container:
    (container,) = stack.containers("host")
    return container


def _names(client: ollama.Client) -> set[str]:
    return {str(model.model) for model in client.list().models}


def test_a_host_is_in_the_place_of_the_workers(stack: Stack, said: str, client: ollama.Client) -> None:
    assert "one worker host: ollama pull NAME" in said
    assert not stack.containers("worker")
    assert _names(client) == {"smollm2:135m"}


def test_it_is_as_hardened_as_a_worker(stack: Stack) -> None:
    container = stack.inspect(_host(stack).name)
    settings = cast(dict[str, object], container["HostConfig"])
    assert (settings["ReadonlyRootfs"], settings["CapDrop"]) == (True, ["ALL"])
    assert stack.docker("exec", _host(stack).name, "id", "-u") == "10001"


def test_its_budget_is_four_fifths_of_the_limit_of_its_container(stack: Stack) -> None:
    """As the host itself says when it is ready."""
    limited = ("run", "--detach", "--memory", f"{_LIMIT_MIB}m", "--entrypoint", "python")
    flags = ("--store", "/tmp/store", "--listen", "127.0.0.1:0", "--log-format", "json")
    name = stack.docker(*limited, "drover-worker-cpu:test", "-m", "engine_worker.host", *flags)
    try:
        wait_until(lambda: bool(_ready(stack, name)), _START_SECONDS, "the host is ready")
        assert [line["memory_mib"] for line in _ready(stack, name)] == [_LIMIT_MIB * 4 // 5]
    finally:
        stack.docker("rm", "--force", name)


def _ready(stack: Stack, name: str) -> list[dict[str, object]]:
    """The lines of a container's log that say so, which is one."""
    lines = stack.docker("logs", name, check=False).splitlines()
    read = [json.loads(line) for line in lines if line.startswith("{")]
    return [line for line in read if line["message"] == "ready"]


def test_models_stay_in_the_volume_and_are_loaded_again(
    stack: Stack, client: ollama.Client, tmp_path: Path
) -> None:
    gguf = tmp_path / "tiny.gguf"
    write_sentencepiece_gguf(gguf)
    client.create("made", files={gguf.name: client.create_blob(gguf)})
    assert client.generate("made", "Hello", options={"num_predict": 4}).eval_count == 4

    # Its workers go with its container.
    stack.docker("rm", "--force", _host(stack).name)
    stack.up(HOSTS=1)

    wait_until(lambda: "made:latest" in _names(client), _JOIN_SECONDS, "the frontend finds the new host")
    assert client.generate("made", "Hello", options={"num_predict": 4}).eval_count == 4
