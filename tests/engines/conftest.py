"""One worker process per engine: the same questions to each of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from drover.v1 import engine_pb2 as pb
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import SGLANG_PYTHON, SMALL_CACHE, Process, worker
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf

_LLAMACPP = ("--engine", "llamacpp", "--context-length", "512", "--slots", "4")
# Its vocabulary puts a space before text and has a token for each byte; the other models' are byte-level BPE.
SENTENCEPIECE = "llamacpp-sentencepiece"
FLAGS = {
    "llamacpp": _LLAMACPP,
    SENTENCEPIECE: _LLAMACPP,
    "simulator": (
        "--engine",
        "simulator",
        "--model",
        "sim",
        "--context-length",
        "512",
        "--sim-decode-step-base-ms",
        "1",
    ),
}
if SGLANG_PYTHON in os.environ:
    FLAGS["sglang"] = ("--engine", "sglang", "--context-length", "512", "--slots", "16", SMALL_CACHE)


@pytest.fixture(scope="session", params=sorted(FLAGS))
def engine_process(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp(request.param)
    model = _sentencepiece_model(folder) if request.param == SENTENCEPIECE else ()
    with worker(folder / "worker.log", *FLAGS[request.param], *model) as process:
        yield process


def _sentencepiece_model(folder: Path) -> tuple[str, str]:
    path = folder / "sentencepiece.gguf"
    write_sentencepiece_gguf(path)
    return "--model", str(path)


@pytest.fixture
async def engine(engine_process: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(engine_process.address) as client:
        yield client


@pytest.fixture
async def model(engine: EngineClient) -> pb.Model:
    return await engine.stub.GetModel(pb.GetModelRequest())
