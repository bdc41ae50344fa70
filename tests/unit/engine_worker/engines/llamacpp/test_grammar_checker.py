"""Grammars are compiled in a child process first, with a time limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from drover.errors import ConstraintRejected
from engine_worker.engines.llamacpp.format_checks import GrammarChecker
from engine_worker.schemas.lark_writer import HEADER
from tests.support.waiting import until

GOOD = f'{HEADER}start: "a"\n'


@asynccontextmanager
async def _check(seconds: float = 20.0, script: Path | None = None) -> AsyncIterator[GrammarChecker]:
    check = GrammarChecker(seconds) if script is None else GrammarChecker(seconds, script)
    try:
        yield check
    finally:
        await check.close()


def _script(folder: Path, then: str) -> Path:
    """A stand-in that says it is ready, and does that with each grammar."""
    script = folder / "compiler.py"
    script.write_text(
        f"import sys, time, os\nprint('\"ready\"', flush=True)\nfor line in sys.stdin:\n    {then}\n"
    )
    return script


async def test_valid_grammars_pass_and_others_are_rejected() -> None:
    async with _check() as check:
        await check.check(GOOD)
        await check.check(GOOD)
        with pytest.raises(ConstraintRejected, match="cannot work with this format"):
            await check.check(f"{HEADER}start: nothing_such\n")
        await check.check(f'{HEADER}start: "b" <[151645]>?\n')


async def test_a_stalled_compiler_is_killed_and_replaced(tmp_path: Path) -> None:
    stalls = "time.sleep(600) if 'slow' in line else print('\"\"', flush=True)"
    async with _check(1.0, _script(tmp_path, stalls)) as check:
        with pytest.raises(ConstraintRejected, match="more than 1 s; make the schema smaller"):
            await check.check("slow")
        await check.check("quick")


async def test_a_crash_of_the_compiler_rejects_the_grammar(tmp_path: Path) -> None:
    async with _check(20.0, _script(tmp_path, "os.abort()")) as check:
        for _ in range(2):
            with pytest.raises(ConstraintRejected, match="breaks the compiler"):
                await check.check(GOOD)


async def test_a_valid_grammar_is_compiled_once(tmp_path: Path) -> None:
    counted = tmp_path / "counted"
    once = f"open({str(counted)!r}, 'a').write('x'), print('\"\"', flush=True)"
    async with _check(20.0, _script(tmp_path, once)) as check:
        for _ in range(3):
            await check.check(GOOD)
        await check.check("another")

    assert counted.read_text() == "xx"


async def test_a_cancelled_check_does_not_answer_the_next_one(tmp_path: Path) -> None:
    began = tmp_path / "began"
    says = "'\"\"' if 'good' in line else '\"bad\"'"
    answers = f"open({str(began)!r}, 'w'), time.sleep(0.5), print({says}, flush=True)"
    async with _check(20.0, _script(tmp_path, answers)) as check:
        cancelled = asyncio.create_task(check.check("bad"))
        await until(began.exists, 30, "the grammar was not compiled")
        cancelled.cancel()
        await asyncio.wait({cancelled})
        await check.check("good")


async def test_a_grammar_that_llama_cpps_library_gives_up_on_is_refused() -> None:
    loop = '%llguidance {}\nstart: "" | /[^o]/ start | "o" "x" start\n'
    checker = GrammarChecker(seconds=10)
    try:
        await checker.check("%llguidance {}\nstart: /([^o]|ox)*/\n", with_words=True)
        with pytest.raises(ConstraintRejected, match="Too many items"):
            await checker.check(loop, with_words=True)
    finally:
        await checker.close()
