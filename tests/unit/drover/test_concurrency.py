"""Large work runs in a thread."""

from __future__ import annotations

import threading

import pytest

from drover.concurrency import run_in_thread_if_large
from drover.go_template import template as template_module
from drover.go_template.errors import TemplateError
from drover.go_template.parse_async import parse_async
from drover.go_template.template import parse


@pytest.mark.parametrize(("length", "is_inline"), [(0, True), (10, True), (11, False)])
async def test_only_large_work_runs_in_a_thread(length: int, is_inline: bool) -> None:
    thread = await run_in_thread_if_large(threading.get_ident, length, inline=10)

    assert (thread == threading.get_ident()) == is_inline


async def test_a_long_template_is_parsed_in_a_thread_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []

    def watched(source: str) -> object:
        threads.append(threading.get_ident())
        return parse(source)

    monkeypatch.setattr(template_module, "parse", watched)
    source = "{{ .Prompt }} of a test of its own" * 100

    assert (await parse_async(source)) is (await parse_async(source))
    assert len(threads) == 1
    assert threads[0] != threading.get_ident()


async def test_a_template_that_cannot_be_parsed_raises_in_a_thread_too() -> None:
    with pytest.raises(TemplateError, match="unexpected EOF"):
        await parse_async("{{ if .Prompt }}" + "x" * 3_000)
