"""Schemas in every dialect on llama.cpp: keywords are kept, reported as dropped, or rejected with a 400."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest

from tests.support.format_cases import KEPT, LINK, LINK_BEGINS, POEM, REFUSED
from tests.support.formats import DIALECTS, ask
from tests.support.processes import Stack, stack

MODEL = "smollm2:135m"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    flags = ("--engine", "llamacpp", "--context-length", "1024", "--slots", "2")
    with stack(tmp_path_factory.mktemp("formats"), flags) as both:
        yield both


@pytest.mark.parametrize("case", KEPT)
@pytest.mark.parametrize("stream", [True, False])
def test_a_schema_is_enforced_and_ignored_keywords_are_named(running: Stack, case: str, stream: bool) -> None:
    schema, is_as_wanted, named = KEPT[case]
    answer = ask(running.url, "/api/chat", MODEL, schema, POEM, stream=stream)

    assert (answer.status, answer.is_cut) == (200, False), answer.text
    assert is_as_wanted(json.loads(answer.text)), answer.text
    assert answer.not_honoured == named


@pytest.mark.parametrize("path", DIALECTS)
def test_a_pattern_limits_the_text_and_ignored_keywords_are_named(running: Stack, path: str) -> None:
    answer = ask(running.url, path, MODEL, LINK, POEM, most=40)

    assert answer.status == 200
    assert re.match(LINK_BEGINS, answer.text), answer.text
    assert answer.not_honoured.split(", ") == ["format.maxLength"]


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("case", ["allOf", "set"])
def test_every_dialect_enforces_the_schema(running: Stack, path: str, case: str) -> None:
    schema, is_as_wanted, named = KEPT[case]
    answer = ask(running.url, path, MODEL, schema, POEM)

    assert (answer.status, answer.is_cut) == (200, False), answer.text
    assert is_as_wanted(json.loads(answer.text)), answer.text
    assert named in answer.not_honoured


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("case", REFUSED)
def test_an_unsupported_schema_is_refused_before_the_response(running: Stack, path: str, case: str) -> None:
    schema, why = REFUSED[case]
    answer = ask(running.url, path, MODEL, schema, POEM, stream=True)

    assert answer.status == 400
    assert why in answer.text
