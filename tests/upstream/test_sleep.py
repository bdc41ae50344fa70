"""SGLang's sleep in place of an unload: the calls that are made, on a scripted manager. What they do to the
memory of a GPU no machine of these tests can show.
"""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass

import pytest

from drover.errors import EngineFailed
from engine_worker.engines import sglang_options
from engine_worker.engines.sglang.engine import SglangEngine
from engine_worker.engines.sglang.options import MEMORY_SAVER, WEIGHTS_BACKUP
from engine_worker.engines.sglang.upstream import process as process_module
from engine_worker.engines.sglang.upstream.arguments import server_args
from engine_worker.engines.sglang.upstream.process import EngineProcess
from engine_worker.settings import WorkerSettings


@dataclass
class _Flushed:
    success: bool


class _Manager:
    """Takes the names of the requests that it gets. `is_idle`: of each rank. `hangs`: at which request."""

    def __init__(self, is_idle: tuple[bool, ...] = (True,), hangs: str = "") -> None:
        self.got: list[str] = []
        self.is_idle = is_idle
        self.hangs = hangs

    async def flush_cache_communicator(self, request: object) -> list[_Flushed]:
        await self._take(request)
        return [_Flushed(each) for each in self.is_idle]

    async def release_memory_occupation(self, request: object, http: None) -> None:
        await self._take(request)

    async def resume_memory_occupation(self, request: object, http: None) -> None:
        await self._take(request)

    async def _take(self, request: object) -> None:
        self.got.append(type(request).__name__)
        if self.got[-1] == self.hangs:
            await asyncio.Event().wait()


def engine_over(manager: _Manager, sleeps: bool = True) -> tuple[SglangEngine, EngineProcess]:
    flags = f"{MEMORY_SAVER} {WEIGHTS_BACKUP}" if sleeps else ""
    chosen = sglang_options(WorkerSettings(engine="sglang", model="org/model", sglang_args=flags))
    process = EngineProcess(chosen)
    process.manager = manager
    engine = SglangEngine(chosen)
    engine._process = process
    return engine, process


@pytest.mark.parametrize("sleeps", [True, False])
async def test_an_unload_releases_memory_and_a_load_takes_it_again(sleeps: bool) -> None:
    manager = _Manager()
    engine, _ = engine_over(manager, sleeps)
    await engine.unload()
    await engine.load()
    wanted = ["FlushCacheReqInput", "ReleaseMemoryOccupationReqInput", "ResumeMemoryOccupationReqInput"]
    assert manager.got == (wanted if sleeps else [])


async def test_an_engine_with_requests_keeps_its_memory() -> None:
    """A scheduler that is asked to release it while it works ends itself; so does one that is asked to resume
    what it has not released.
    """
    manager = _Manager(is_idle=(True, False))
    engine, _ = engine_over(manager)
    with pytest.raises(EngineFailed, match="was not idle"):
        await engine.unload()
    await engine.load()
    assert manager.got == ["FlushCacheReqInput"]


async def test_an_engine_that_does_not_wake_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker ends then, and its host starts another one."""
    monkeypatch.setattr(process_module, "_RESUME_SECONDS", 0.05)
    engine, process = engine_over(_Manager(hangs="ResumeMemoryOccupationReqInput"))
    await engine.unload()
    with pytest.raises(EngineFailed, match="did not take its memory again"):
        await engine.load()
    assert "did not take its memory again" in await process.wait_failed()


@pytest.mark.parametrize(
    ("request_name", "words"),
    [
        ("FlushCacheReqInput", "did not say whether it is idle"),
        ("ReleaseMemoryOccupationReqInput", "did not release its memory"),
    ],
)
async def test_an_engine_that_does_not_answer_while_it_falls_asleep_has_failed(
    monkeypatch: pytest.MonkeyPatch, request_name: str, words: str
) -> None:
    for name in ("_IDLE_SECONDS", "_ANSWER_SECONDS", "_RELEASE_SECONDS"):
        monkeypatch.setattr(process_module, name, 0.02)
    engine, process = engine_over(_Manager(hangs=request_name))
    async with asyncio.timeout(5):
        with pytest.raises(EngineFailed, match=words):
            await engine.unload()
    assert words in await process.wait_failed()
    assert not engine._is_asleep


def test_without_a_gpu_the_start_is_refused() -> None:
    """SGLang's scheduler would end itself at the first release."""
    flags = f"{MEMORY_SAVER} {WEIGHTS_BACKUP}"
    chosen = sglang_options(WorkerSettings(engine="sglang", model="org/model", sglang_args=flags))
    with pytest.raises(ValueError, match="frees the memory of a GPU"):
        server_args(chosen, on_cpu=True)


def test_sglangs_manager_has_the_calls() -> None:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

    assert "flush_cache_communicator" in inspect.getsource(TokenizerManager.flush_cache)
    for name in ("release_memory_occupation", "resume_memory_occupation"):
        method = getattr(TokenizerManager, name)
        assert inspect.iscoroutinefunction(method)
        assert list(inspect.signature(method).parameters)[:2] == ["self", "obj"]
