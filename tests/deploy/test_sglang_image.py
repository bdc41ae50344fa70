"""The SGLang worker's image on a base without a GPU: the real engine answers (`make test-deploy-sglang`)."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from engine_worker import default_model
from engine_worker.health import is_serving
from tests.support.processes import ROOT, free_port, frontend
from tests.support.waiting import wait_until

IMAGE = "drover-worker-sglang-cpu:test"
_START_SECONDS = 400.0
_HARDENED = (
    *("--read-only", "--tmpfs", "/tmp:exec,mode=1777", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--shm-size", "1g"),
)


def _docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


@pytest.fixture(scope="module")
def image(engine: None) -> str:
    """Eleven gigabytes: once, where the engine keeps what it has built."""
    base = os.environ.get("BASE", "python:3.11-slim")
    arguments = [f"BASE={base}", "REQUIREMENTS=sglang.txt", "VERSION=test"]
    _docker(
        *("build", "--network", os.environ.get("BUILD_NETWORK", "default")),
        *("--file", "deploy/docker/worker-sglang.Dockerfile", "--tag", IMAGE),
        *(part for argument in arguments for part in ("--build-arg", argument)),
        ".",
    )
    return IMAGE


@pytest.fixture
def cache() -> Iterator[str]:
    name = f"drover-test-{secrets.token_hex(4)}"
    _docker("volume", "create", name)
    yield f"{name}:/var/cache/drover"
    _docker("volume", "rm", name)


@pytest.fixture
def worker(image: str, cache: str) -> Iterator[str]:
    """Its address. The image makes the model itself, since it has what that takes."""
    gguf = default_model.gguf_path().parent
    sources = ("--volume", f"{ROOT}/scripts:/app/scripts:ro", "--volume", f"{gguf}:/app/{gguf.name}:ro")
    _docker(
        *("run", "--rm", *_HARDENED, "--volume", cache, *sources, "--entrypoint", "python"),
        *(image, "-m", "scripts.model"),
    )
    address = f"127.0.0.1:{free_port()}"
    name = _docker(
        *("run", "--detach", *_HARDENED, "--volume", cache, "--publish", f"{address}:50051", image),
        *("--name", "smol", "--sglang-args", "--max-total-tokens 65536"),
    )
    try:
        wait_until(lambda: is_serving(address), _START_SECONDS, "SGLang serves")
        yield address
        _docker("stop", "--time", "30", name)
        assert _docker("inspect", "--format", "{{.State.ExitCode}}", name) == "0"
    finally:
        _docker("rm", "--force", name)


def test_the_real_engine_answers_from_the_image(worker: str, tmp_path: Path) -> None:
    request = {
        "model": "smol",
        "messages": [{"role": "user", "content": "What is the capital of France?"}],
        "options": {"temperature": 0},
        "stream": False,
    }
    with frontend(tmp_path / "f.log", [worker]) as front:
        answer = httpx.post(f"http://{front.address}/api/chat", json=request, timeout=60, trust_env=False)
    assert answer.json()["message"]["content"] == "The capital of France is Paris."


def test_the_image_has_its_labels(image: str) -> None:
    form = '{{.Config.User}} {{index .Config.Labels "org.opencontainers.image.title"}}'
    assert _docker("inspect", "--format", form, image) == "10001:10001 drover-worker-sglang"
