"""Adapters of llama.cpp's process: when it restarts, and what becomes of an adapter that it cannot load."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from drover.errors import AdapterMissing, EngineFailed, InvalidRequest
from engine_worker.adapters.contents import Adapter
from engine_worker.engines.llamacpp.adapters import ProcessAdapters

_ONE, _TWO, _BAD = (Adapter(digest, Path(digest), "gguf", "llama", (), 1) for digest in ("one", "two", "bad"))


class _Process:
    """Starts unless it should load an adapter whose folder is in `refuses`."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.adapters = ProcessAdapters(self.failures.append)
        self.refuses: set[str] = {"bad"}
        self.starts: list[list[str]] = []

    async def use(self, *adapters: Adapter) -> None:
        await self.adapters.use(adapters, self._restart)

    async def _restart(self) -> None:
        names: Sequence[str] = [path.parent.name for path in self.adapters.begin_start()]
        self.starts.append(list(names))
        if self.refuses.intersection(names) or "all" in self.refuses:
            raise RuntimeError("it cannot be loaded")


async def test_it_restarts_only_for_a_new_one() -> None:
    process = _Process()
    await process.use(_ONE)
    await process.use(_ONE, _TWO)
    await process.use(_TWO)
    await process.use(_TWO, _ONE)

    assert process.starts == [["one"], ["one", "two"]]


async def test_a_request_names_all_with_a_scale() -> None:
    process = _Process()
    assert process.adapters.applied("") == {}
    await process.use(_ONE, _TWO)

    assert process.adapters.applied("two") == {"lora": [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]}
    assert process.adapters.applied("") == {"lora": [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 0.0}]}
    with pytest.raises(AdapterMissing):
        process.adapters.applied("three")


async def test_one_that_cannot_be_loaded_is_refused_and_the_others_come_back() -> None:
    process = _Process()
    await process.use(_ONE)
    with pytest.raises(InvalidRequest, match="cannot load the adapter: it cannot be loaded"):
        await process.use(_ONE, _BAD)

    assert process.starts[-1] == ["one"]
    assert process.adapters.applied("one") == {"lora": [{"id": 0, "scale": 1.0}]}
    assert not process.failures


async def test_a_process_that_does_not_start_again_is_a_failure_of_the_engine() -> None:
    process = _Process()
    process.refuses = {"all"}
    with pytest.raises(EngineFailed):
        await process.use(_ONE)

    assert process.failures == ["llama.cpp did not start again: it cannot be loaded"]


async def test_a_process_that_is_starting_keeps_the_numbers_that_it_was_given() -> None:
    """The model is loaded again after its keep-alive, and an adapter is deleted meanwhile."""
    process = _Process()
    await process.use(_ONE, _TWO)
    process.adapters.begin_start()
    await process.use(_TWO)

    assert process.adapters.applied("two") == {"lora": [{"id": 0, "scale": 0.0}, {"id": 1, "scale": 1.0}]}


async def test_one_that_is_added_while_a_process_starts_needs_another_start() -> None:
    process = _Process()
    await process.use(_ONE, _TWO)
    await process.use(_TWO)
    process.adapters.begin_start()

    assert process.adapters.lacks_any([_TWO, _ONE])
