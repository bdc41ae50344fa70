"""Texts that a grammar generates obey the schema, and llguidance accepts the grammar."""

from __future__ import annotations

import json
from decimal import Decimal
from random import Random

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_worker.schemas.constraint import from_schema
from engine_worker.schemas.numbers import Bounds, integers, numbers
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import NOTHING
from tests.schemas.keywords import CASES, Case
from tests.schemas.llguidance_accepts import accepts
from tests.schemas.sampling import sampled

_SAMPLES = 40
# Of OpenAPI; shorter lists; a leap day in every year.
_AS_OLLAMA = {"nullable", "prefixItems", "format: date", "format: date-time"}
_OTHERS: list[dict[str, object]] = [
    {"type": "object"},
    {},
    {"type": "array", "items": {"type": "array", "items": {"type": "boolean"}, "minItems": 1}, "minItems": 2},
    {"type": "object", "properties": {f"p{number}": {"type": "boolean"} for number in range(12)}},
    {
        "type": "object",
        "properties": {"a": {"type": "string"}, "ab": {"type": "null"}, "b": {"type": "integer"}},
        "required": ["ab"],
        "additionalProperties": {"type": "integer"},
    },
    {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 5}, {"type": "number"}, {"type": "string"}]},
]


def _kept(case: Case) -> bool:
    return case.keyword not in _AS_OLLAMA and not from_schema(case.text).not_honoured


@pytest.mark.parametrize(
    "schema",
    [*(dict(case.schema) for case in CASES if _kept(case)), *_OTHERS],
    ids=lambda schema: json.dumps(schema)[:60],
)
def test_generated_texts_obey_the_schema(schema: dict[str, object]) -> None:
    constraint, random = from_schema(json.dumps(schema)), Random(1)
    validator = jsonschema_rs.validator_for(schema, validate_formats=True)

    for _ in range(_SAMPLES):
        text = sampled(constraint.grammar, random)
        assert validator.is_valid(json.loads(text)), text
        assert accepts(constraint.grammar, text), text


def test_nothing_may_follow_the_value() -> None:
    constraint, random = from_schema('{"type": "object"}'), Random(2)

    for _ in range(_SAMPLES):
        text = sampled(constraint.grammar, random)
        assert not accepts(constraint.grammar, text + "\n")
        assert not accepts(constraint.grammar, " " + text)


_bounds = st.decimals(-300, 300, allow_nan=False, places=2)


@given(
    low=st.none() | _bounds,
    high=st.none() | _bounds,
    opens=st.tuples(st.booleans(), st.booleans()),
    seed=st.integers(),
)
def test_numbers_lie_between_their_bounds(
    low: Decimal | None, high: Decimal | None, opens: tuple[bool, bool], seed: int
) -> None:
    bounds = Bounds(low, high, *opens)
    for make in (integers, numbers):
        term = make(bounds)
        if term == NOTHING:
            assert bounds.are_empty or make is integers
            continue
        value = Decimal(sampled(Grammar({ROOT: term}), Random(seed)))
        assert low is None or (value > low if opens[0] else value >= low)
        assert high is None or (value < high if opens[1] else value <= high)


@given(low=st.integers(-200, 200), length=st.integers(0, 60), value=st.integers(-300, 300))
def test_every_integer_between_the_bounds_is_possible(low: int, length: int, value: int) -> None:
    schema = {"type": "integer", "minimum": low, "maximum": low + length}
    constraint = from_schema(json.dumps(schema))

    assert accepts(constraint.grammar, str(value)) is (low <= value <= low + length)


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        ({"enum": [2**70]}, str(2**70)),
        ({"const": "\ud800"}, '"\\ud800"'),
        ({"type": "string", "pattern": "^\\ud83d\\ude00$"}, '"😀"'),
        ({"type": "string", "maxLength": 1}, '"\\ud83d\\ude00"'),
    ],
)
def test_exact_values_of_constants(schema: object, text: str) -> None:
    assert accepts(from_schema(json.dumps(schema)).grammar, text)


def test_lone_surrogates_are_not_matched() -> None:
    assert not accepts(from_schema('{"type": "string"}').grammar, '"\\ud83d"')
