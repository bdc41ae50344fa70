"""The `ollama` client of npm; its tests are in node/."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.clients.fleet import FREED_SECONDS, Fleet
from tests.support.engine_client import EngineClient
from tests.support.waiting import until

FOLDER = Path(__file__).parent / "node"
_TESTS_SECONDS = 60.0
_LINE_SECONDS = 10.0


def _node() -> str:
    node = shutil.which("node")
    assert node is not None, "there is no node; `make test-clients` says what to install"
    return node


def _environment(fleet: Fleet) -> dict[str, str]:
    return {**os.environ, "DROVER_TEST_URL": fleet.url}


@pytest.mark.parametrize("name", sorted(file.name for file in FOLDER.glob("*.test.mjs")))
def test_every_method(fleet: Fleet, name: str) -> None:
    ran = subprocess.run(
        [_node(), "--test", "--test-reporter=tap", name],
        cwd=FOLDER,
        env=_environment(fleet),
        timeout=_TESTS_SECONDS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "\n# pass 0\n" not in ran.stdout


class Streaming:
    """A node process that streams an answer until it is aborted."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        assert self._process.stdout is not None
        return (await asyncio.wait_for(self._process.stdout.readline(), _LINE_SECONDS)).decode().strip()

    def abort(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"abort\n")

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _LINE_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


@asynccontextmanager
async def _streaming(fleet: Fleet, method: str, how: str) -> AsyncIterator[Streaming]:
    process = await asyncio.create_subprocess_exec(
        _node(),
        "abort.mjs",
        method,
        how,
        cwd=FOLDER,
        env=_environment(fleet),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    streaming = Streaming(process)
    try:
        yield streaming
    finally:
        await streaming.end()


@pytest.mark.parametrize("how", ["client", "stream"])
@pytest.mark.parametrize("method", ["chat", "generate"])
async def test_abort_frees_the_slot(
    fleet: Fleet, thinker_engine: EngineClient, method: str, how: str
) -> None:
    """Abort all streams of a client, and one stream."""
    async with _streaming(fleet, method, how) as streaming:
        assert await streaming.line() == "streaming"
        assert await thinker_engine.busy()
        streaming.abort()
        assert await until(thinker_engine.idle, 5, "the slot is free again") < FREED_SECONDS
        assert await streaming.line() == "AbortError"
