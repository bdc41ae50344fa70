"""Schemas on SGLang as on llama.cpp: kept, named, or a 400 before the answer."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.format_cases import KEPT, LINK, LINK_BEGINS, POEM, REFUSED
from tests.support.formats import DIALECTS, ask
from tests.support.processes import Stack

MODEL = "smol"


@pytest.mark.parametrize("case", KEPT)
def test_a_schema_is_enforced_and_ignored_keywords_are_named(smol: Stack, case: str) -> None:
    """Streamed; tests/system has the same not streamed, where nothing differs between engines."""
    schema, is_as_wanted, named = KEPT[case]
    answer = ask(smol.url, "/api/chat", MODEL, schema, POEM, stream=True)

    assert (answer.status, answer.is_cut) == (200, False), answer.text
    assert is_as_wanted(json.loads(answer.text)), answer.text
    assert answer.not_honoured == named


@pytest.mark.parametrize("path", DIALECTS)
def test_a_pattern_limits_the_text_and_ignored_keywords_are_named(smol: Stack, path: str) -> None:
    answer = ask(smol.url, path, MODEL, LINK, POEM, most=40)

    assert answer.status == 200
    assert re.match(LINK_BEGINS, answer.text), answer.text
    assert answer.not_honoured.split(", ") == ["format.maxLength"]


@pytest.mark.parametrize("path", DIALECTS)
def test_every_dialect_enforces_the_schema(smol: Stack, path: str) -> None:
    schema, is_as_wanted, named = KEPT["allOf"]
    answer = ask(smol.url, path, MODEL, schema, POEM)

    assert (answer.status, answer.is_cut) == (200, False), answer.text
    assert is_as_wanted(json.loads(answer.text)), answer.text
    assert named in answer.not_honoured


@pytest.mark.parametrize("path", DIALECTS)
@pytest.mark.parametrize("case", REFUSED)
def test_an_unsupported_schema_is_refused_before_the_response(smol: Stack, path: str, case: str) -> None:
    schema, why = REFUSED[case]
    answer = ask(smol.url, path, MODEL, schema, POEM, stream=True)

    assert answer.status == 400
    assert why in answer.text
