"""Schemas that Pydantic and zod generate are accepted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import llguidance
import pytest

from drover.errors import ConstraintRejected
from engine_worker.schemas.constraint import from_schema
from engine_worker.schemas.gbnf_writer import gbnf_text
from engine_worker.schemas.lark_writer import lark_text

_FOLDER = Path(__file__).parents[3] / "schemas"
# Upstream refuses two of some two hundred such schemas.
_MOST_REFUSED = 5


def _schemas() -> Iterator[tuple[str, str]]:
    for source in ("pydantic", "zod"):
        for line in (_FOLDER / f"{source}.jsonl").read_text().splitlines():
            written = json.loads(line)
            yield f"{source}: {written['name']}", json.dumps(written["schema"])


SCHEMAS = dict(_schemas())


def test_at_most_five_generated_schemas_are_rejected() -> None:
    assert len(SCHEMAS) >= 206
    refused = {}
    for name, schema in SCHEMAS.items():
        try:
            from_schema(schema)
        except ConstraintRejected as error:
            refused[name] = error.message

    assert len(refused) <= _MOST_REFUSED, refused


@pytest.mark.parametrize("name", SCHEMAS)
def test_llama_cpps_library_compiles_the_grammar(name: str) -> None:
    grammar = llguidance.LLMatcher.grammar_from_lark(lark_text(from_schema(SCHEMAS[name]).grammar))

    assert llguidance.LLMatcher.validate_grammar(grammar) == ""


def test_keywords_dropped_of_generated_schemas() -> None:
    """A list to look at when it changes."""
    dropped = {name: list(of) for name in SCHEMAS if (of := from_schema(SCHEMAS[name]).not_honoured)}

    assert "pydantic: model" not in dropped
    assert dropped["pydantic: set[str]"] == ["format.uniqueItems"]
    assert len(dropped) <= 40


def test_all_generated_schemas_are_within_the_gbnf_limits() -> None:
    for schema in SCHEMAS.values():
        assert gbnf_text(from_schema(schema).grammar).startswith("root ::= ")
