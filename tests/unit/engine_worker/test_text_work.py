"""How much text is tokenised at the same time, and what becomes of it when its client leaves."""

from __future__ import annotations

import asyncio

import pytest

from drover.errors import EngineFailed, InvalidRequest, QueueFull
from engine_worker import text_work
from engine_worker.text_work import MAX_BYTES, TextWork

_LONG = 1024 * 1024
_DEADLINE_SECONDS = 30.0


class Tokenizer:
    """Works on each text until it is stopped."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    async def work(self, name: str) -> str:
        self.begun.append(name)
        self.ends[name] = asyncio.Event()
        await self.ends[name].wait()
        return name


async def _turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def _run(texts: TextWork, tokenizer: Tokenizer, name: str, length: int) -> asyncio.Task[str]:
    return asyncio.create_task(texts.run(length, lambda: tokenizer.work(name)))


async def test_long_texts_are_done_one_by_one_and_short_ones_do_not_wait_for_them() -> None:
    texts, tokenizer = TextWork(2), Tokenizer()
    tasks = [_run(texts, tokenizer, f"long {n}", _LONG) for n in range(3)]
    tasks += [_run(texts, tokenizer, f"short {n}", 10) for n in range(3)]
    await _turn()

    assert sorted(tokenizer.begun) == ["long 0", "short 0", "short 1"]
    for name in ("short 0", "long 0"):
        tokenizer.ends[name].set()
    await _turn()
    assert sorted(tokenizer.begun) == ["long 0", "long 1", "short 0", "short 1", "short 2"]
    assert (await tasks[0], await tasks[3]) == ("long 0", "short 0")
    await texts.end()


async def test_an_abandoned_text_counts_until_it_is_done() -> None:
    texts, tokenizer = TextWork(2), Tokenizer()
    left = _run(texts, tokenizer, "left", _LONG)
    waits = _run(texts, tokenizer, "never begun", _LONG)
    other = _run(texts, tokenizer, "other", _LONG)
    await _turn()
    for task in (left, waits):
        task.cancel()
    await asyncio.wait({left, waits}, timeout=_DEADLINE_SECONDS)
    assert left.cancelled()
    assert tokenizer.begun == ["left"]

    tokenizer.ends["left"].set()
    await _turn()
    assert tokenizer.begun == ["left", "other"]
    tokenizer.ends["other"].set()
    assert await other == "other"


async def test_a_failure_is_its_callers_and_frees_its_turn() -> None:
    async def fails() -> str:
        raise EngineFailed("it broke")

    async def works() -> str:
        return "done"

    texts = TextWork(1)
    with pytest.raises(EngineFailed):
        await texts.run(_LONG, fails)
    assert await texts.run(_LONG, works) == "done"


async def test_texts_that_are_too_long_or_too_many_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_work, "_MAX_WAITING_BYTES", 2 * _LONG)
    texts, tokenizer = TextWork(1), Tokenizer()
    with pytest.raises(InvalidRequest, match="too long"):
        await texts.run(MAX_BYTES + 1, lambda: tokenizer.work("x"))
    tasks = [_run(texts, tokenizer, str(number), _LONG) for number in range(2)]
    await _turn()
    with pytest.raises(QueueFull):
        await texts.run(_LONG, lambda: tokenizer.work("x"))
    tokenizer.ends["0"].set()
    assert await tasks[0] == "0"
    await _turn()
    third = _run(texts, tokenizer, "third", _LONG)
    await _turn()
    assert not third.done()
    await texts.end()
    await asyncio.wait({third, tasks[1]}, timeout=_DEADLINE_SECONDS)


async def test_no_caller_waits_for_an_engine_that_is_gone() -> None:
    texts, tokenizer = TextWork(1), Tokenizer()
    begun = _run(texts, tokenizer, "begun", 10)
    await _turn()
    waits = _run(texts, tokenizer, "waits", 10)
    await asyncio.sleep(0)
    await texts.end()

    for task in (begun, waits):
        with pytest.raises(EngineFailed):
            await asyncio.wait_for(task, _DEADLINE_SECONDS)
