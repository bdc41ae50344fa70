"""The adapters that SGLang has: loaded once, and unloaded in the end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy
import pytest

from drover.errors import EngineFailed
from drover.v1 import engine_pb2 as pb
from engine_worker.adapters.contents import Adapter, read_adapter
from engine_worker.engines.sglang.engine import SglangEngine
from engine_worker.engines.sglang.options import SglangOptions
from engine_worker.engines.sglang.upstream.process import EngineProcess
from tests.support.adapters import write_peft_adapter


class _Process:
    """Writes down what is loaded; does not unload while it is `busy`."""

    def __init__(self) -> None:
        self.loaded: list[str] = []
        self.busy = False

    async def load_adapter(self, name: str, folder: str) -> None:
        assert name not in self.loaded
        self.loaded.append(name)

    async def unload_adapter(self, name: str) -> None:
        if self.busy:
            raise EngineFailed("SGLang did not unload the adapter")
        self.loaded.remove(name)

    async def stop(self) -> None:
        """Nothing runs."""


def _adapter(folder: Path) -> Adapter:
    matrices = {
        "v_proj.A": numpy.ones((1, 8), numpy.float32),
        "v_proj.B": numpy.ones((4, 1), numpy.float32),
    }
    write_peft_adapter(folder, matrices)
    return read_adapter("one", folder)


async def test_one_that_was_not_unloaded_is_unloaded_by_the_next_change(tmp_path: Path) -> None:
    process = _Process()
    engine = SglangEngine(cast("SglangOptions", None))
    engine._process, engine._model = cast("EngineProcess", process), pb.Model()
    one = _adapter(tmp_path / "one")
    two = replace(one, digest="two")
    await engine.use_adapters([one])

    process.busy = True
    with pytest.raises(EngineFailed):
        await engine.use_adapters([two])
    process.busy = False
    await engine.use_adapters([one])

    assert process.loaded == ["one"]
    await engine.stop()
