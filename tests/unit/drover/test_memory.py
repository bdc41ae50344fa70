"""Memory goes back when few requests run, and only when there is some."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from drover.memory import collect_and_trim, resident_bytes, trim_after_load
from tests.support.waiting import until

_MEGABYTE = 1024 * 1024


class Process:
    def __init__(self) -> None:
        self.resident = 100 * _MEGABYTE
        self.requests = 0
        self.trims = 0
        self.looked = 0

    def look(self) -> int:
        self.looked += 1
        return self.resident

    def trim(self) -> None:
        self.trims += 1
        self.resident -= 10 * _MEGABYTE

    async def looks(self) -> None:
        """Several times more."""
        at = self.looked
        await until(lambda: self.looked > at + 5, 30, "it looks at its memory")


@pytest.fixture
async def process() -> Process:
    return Process()


async def test_after_a_crowd(process: Process) -> None:
    keeper = asyncio.create_task(trim_after_load(lambda: process.requests, process.look, process.trim, 0.001))
    await process.looks()
    assert process.trims == 0

    process.requests, process.resident = 1_000, 200 * _MEGABYTE
    await process.looks()
    assert process.trims == 0

    process.requests = 3
    await process.looks()
    assert process.trims == 1
    keeper.cancel()


async def test_the_watch_ends_where_memory_cannot_be_read() -> None:
    def missing() -> int:
        raise OSError("no such file")

    await asyncio.wait_for(trim_after_load(lambda: 0, missing), 30)


def test_cycles_are_collected() -> None:
    class Node:
        pass

    gc.collect()
    node = Node()
    node.__dict__["itself"] = node
    gone = weakref.ref(node)
    del node

    collect_and_trim()

    assert gone() is None
    assert resident_bytes() > _MEGABYTE
