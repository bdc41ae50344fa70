"""A worker with a small GGUF whose template has tools and thinking, and whose answers are known."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.engines.llamacpp_tools.answers import CONTEXT_LENGTH, SCRIPTS
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import Process, worker
from tests.support.scripted_gguf import THINKING_AND_TOOLS, write_scripted_gguf


@pytest.fixture(scope="package")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("tools")
    write_scripted_gguf(folder / "model.gguf", THINKING_AND_TOOLS, *SCRIPTS)
    flags = ("--context-length", str(CONTEXT_LENGTH), "--slots", "2")
    with worker(
        folder / "worker.log", "--engine", "llamacpp", "--model", str(folder / "model.gguf"), *flags
    ) as process:
        yield process


@pytest.fixture
async def engine(process: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(process.address) as client:
        yield client
