"""SGLang's sleep in place of an unload: the calls that are made, on a scripted manager. What they do to the
memory of a GPU no machine of these tests can show.
"""

from __future__ import annotations

import inspect

import pytest

from engine_worker.engines import sglang_options
from engine_worker.engines.sglang.engine import SglangEngine
from engine_worker.engines.sglang.options import MEMORY_SAVER, WEIGHTS_BACKUP
from engine_worker.engines.sglang.upstream.process import EngineProcess
from engine_worker.settings import WorkerSettings


class _Manager:
    """Takes the names of the requests that it gets."""

    def __init__(self) -> None:
        self.got: list[str] = []

    async def release_memory_occupation(self, request: object, http: None) -> None:
        self.got.append(type(request).__name__)

    async def resume_memory_occupation(self, request: object, http: None) -> None:
        self.got.append(type(request).__name__)


@pytest.mark.parametrize("sleeps", [True, False])
async def test_an_unload_releases_memory_and_a_load_takes_it_again(sleeps: bool) -> None:
    flags = f"{MEMORY_SAVER} {WEIGHTS_BACKUP}" if sleeps else ""
    chosen = sglang_options(WorkerSettings(engine="sglang", model="org/model", sglang_args=flags))
    process, manager = EngineProcess(chosen), _Manager()
    process.manager = manager
    engine = SglangEngine(chosen)
    engine._process = process
    await engine.unload()
    await engine.load()
    wanted = ["ReleaseMemoryOccupationReqInput", "ResumeMemoryOccupationReqInput"]
    assert manager.got == (wanted if sleeps else [])


def test_sglangs_manager_has_the_calls() -> None:
    from sglang.srt.managers.tokenizer_manager import TokenizerManager

    for name in ("release_memory_occupation", "resume_memory_occupation"):
        method = getattr(TokenizerManager, name)
        assert inspect.iscoroutinefunction(method)
        assert list(inspect.signature(method).parameters)[:2] == ["self", "obj"]
