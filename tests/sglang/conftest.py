"""Real SGLang engines that tests share: a start takes half a minute."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import ollama
import pytest

from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import ROOT, SMALL_CACHE, Process, Stack, frontend, sglang_python, worker

SMOL = ("--engine", "sglang", "--name", "smol", "--context-length", "2048", "--slots", "16", SMALL_CACHE)


@pytest.fixture(scope="session")
def smol_worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """SmolLM2 with its real weights."""
    with worker(tmp_path_factory.mktemp("smol") / "worker.log", *SMOL) as process:
        yield process


@pytest.fixture(scope="session")
def smol(smol_worker: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with frontend(tmp_path_factory.mktemp("smol") / "frontend.log", [smol_worker.address]) as process:
        yield Stack(smol_worker, process)


@pytest.fixture
def client(smol: Stack) -> Iterator[ollama.Client]:
    with ollama.Client(host=smol.url, timeout=120) as connected:
        yield connected


@pytest.fixture
def thinker_client(thinker: Stack) -> Iterator[ollama.Client]:
    with ollama.Client(host=thinker.url, timeout=120) as connected:
        yield connected


@pytest.fixture
async def engine(smol_worker: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(smol_worker.address) as connected:
        yield connected


def tiny_model(kind: str, folder: Path) -> Path:
    """A small model with random weights; see tests/support/tiny_models.py."""
    subprocess.run(
        [sglang_python(), "-m", "tests.support.tiny_models", kind, str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder


@pytest.fixture(scope="session")
def thinker_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model("thinker", tmp_path_factory.mktemp("thinker") / "thinker")


@pytest.fixture(scope="session")
def thinker_worker(thinker_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """Random weights behind a template that thinks and calls tools."""
    flags = ("--engine", "sglang", "--model", str(thinker_model), SMALL_CACHE)
    with worker(tmp_path_factory.mktemp("thinker") / "worker.log", *flags) as process:
        yield process


@pytest.fixture(scope="session")
def thinker(thinker_worker: Process, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with frontend(tmp_path_factory.mktemp("thinker") / "frontend.log", [thinker_worker.address]) as process:
        yield Stack(thinker_worker, process)


@pytest.fixture(scope="session")
def seer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Random weights that see."""
    folder = tmp_path_factory.mktemp("seer")
    flags = ("--engine", "sglang", "--model", str(tiny_model("seer", folder / "seer")), SMALL_CACHE)
    with (
        worker(folder / "worker.log", *flags) as one,
        frontend(folder / "frontend.log", [one.address]) as other,
    ):
        yield Stack(one, other)


@pytest.fixture
async def thinker_engine(thinker_worker: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(thinker_worker.address) as connected:
        yield connected
