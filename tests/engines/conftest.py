"""One worker process per engine: the same questions to each of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator

import pytest

from drover.v1 import engine_pb2 as pb
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import SGLANG_PYTHON, SMALL_CACHE, Process, worker

FLAGS = {
    "llamacpp": ("--engine", "llamacpp", "--context-length", "512", "--slots", "4"),
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
    with worker(tmp_path_factory.mktemp(request.param) / "worker.log", *FLAGS[request.param]) as process:
        yield process


@pytest.fixture
async def engine(engine_process: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(engine_process.address) as client:
        yield client


@pytest.fixture
async def model(engine: EngineClient) -> pb.Model:
    return await engine.stub.GetModel(pb.GetModelRequest())
