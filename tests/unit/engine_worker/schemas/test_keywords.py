"""Every keyword of the table, checked with llguidance, llama.cpp's grammar library."""

from __future__ import annotations

import pytest

from engine_worker.schemas import keywords
from tests.schemas.keywords import CASES, Case
from tests.schemas.llguidance_accepts import accepts
from tests.schemas.table import LOST, column, outcome


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.keyword)
def test_a_keyword_is_kept_or_reported_as_in_the_table(case: Case) -> None:
    kept = outcome(case, accepts)

    assert kept != LOST
    assert column("llama.cpp").get(case.keyword) == kept, "run `python -m tests.schemas.table`"


def test_the_table_has_all_cases_and_both_engines_in_agreement() -> None:
    assert column("llama.cpp") == column("SGLang")
    assert list(column("llama.cpp")) == [case.keyword for case in CASES]


def test_no_keyword_that_constrains_is_missing() -> None:
    written = {keyword for case in CASES for keyword in _keywords(case.schema)}
    known = keywords.KEPT | keywords.KEPT_WHERE_POSSIBLE | keywords.DROPPED
    # Old names of others, or of no meaning without them.
    others = {
        "additionalItems",
        "definitions",
        "dependencies",
        "maxContains",
        "minContains",
        "unevaluatedItems",
    }

    assert known - others <= written


def _keywords(schema: object) -> set[str]:
    if isinstance(schema, list):
        return {keyword for part in schema for keyword in _keywords(part)}
    if not isinstance(schema, dict):
        return set()
    return {*schema, *(keyword for part in schema.values() for keyword in _keywords(part))}
