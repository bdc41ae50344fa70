"""`multipleOf`: which steps a grammar keeps exactly, and that all others are reported."""

from __future__ import annotations

import json
from fractions import Fraction

import pytest

from engine_worker.schemas.constraint import from_schema, plain_json
from tests.schemas.llguidance_accepts import accepts

_WHOLE = [0, 1, 2, 5, 7, 10, 25, 40, 50, 75, 80, 99, 100, 105, 1000, 1040, 2000]
_FRACTIONS = ["0.01", "0.1", "0.25", "0.5", "2.5", "7.5", "12.5", "12.75", "100.01"]
_KEPT = [
    ("integer", "2"),
    ("integer", "5"),
    ("integer", "25"),
    ("integer", "40"),
    ("integer", "100"),
    ("integer", "1000"),
    ("integer", "2.5"),
    ("integer", "0.5"),
    ("number", "1"),
    ("number", "5"),
    ("number", "2.5"),
    ("number", "0.5"),
    ("number", "0.25"),
    ("number", "0.1"),
    ("number", "0.01"),
]
_BOUNDS: list[dict[str, object]] = [
    {},
    {"minimum": 0},
    {"minimum": 7},
    {"minimum": -12.5, "maximum": 10**9},
    {"exclusiveMinimum": 0},
    {"exclusiveMaximum": 100, "minimum": -(10**9)},
    {"maximum": -50},
]


@pytest.mark.parametrize("bounds", _BOUNDS, ids=json.dumps)
@pytest.mark.parametrize(("kind", "step"), _KEPT)
def test_all_multiples_and_nothing_else(kind: str, step: str, bounds: dict[str, object]) -> None:
    schema = f'{{"type": "{kind}", "multipleOf": {step}, {json.dumps(bounds)[1:]}'.replace(", }", "}")
    constraint = from_schema(schema)

    assert constraint.not_honoured == ()
    for text in _texts():
        is_one = Fraction(text) % Fraction(step) == 0 and (kind == "number" or "." not in text)
        expected = is_one and _is_between(Fraction(text), bounds)
        assert accepts(constraint.grammar, text) == expected, text


def _texts() -> list[str]:
    texts = [*map(str, _WHOLE), *_FRACTIONS]
    return [*texts, *(f"-{text}" for text in texts if text != "0")]


def _is_between(value: Fraction, bounds: dict[str, object]) -> bool:
    limits = {name: Fraction(str(limit)) for name, limit in bounds.items()}
    return (
        ("minimum" not in limits or value >= limits["minimum"])
        and ("maximum" not in limits or value <= limits["maximum"])
        and ("exclusiveMinimum" not in limits or value > limits["exclusiveMinimum"])
        and ("exclusiveMaximum" not in limits or value < limits["exclusiveMaximum"])
    )


@pytest.mark.parametrize(
    ("step", "text", "is_taken"),
    [
        ("0.01", "12.5", True),
        ("0.01", "12.50", True),
        ("0.01", "12.500", False),
        ("0.01", "12.505", False),
        ("0.01", "0.07", True),
        ("0.01", "-0.07", True),
        ("0.01", "1e2", False),
        ("0.5", "3.0", True),
        ("0.5", ".5", False),
        ("100", "0", True),
        ("100", "00", False),
        ("100", "1200", True),
        ("100", "120", False),
    ],
)
def test_how_multiples_are_written(step: str, text: str, is_taken: bool) -> None:
    constraint = from_schema(f'{{"type": "number", "multipleOf": {step}}}')
    assert accepts(constraint.grammar, text) == is_taken


@pytest.mark.parametrize("step", ["3", "7", "0.001", "0.3", "15", "1e30", "1e-30", "0", "-5", '"x"'])
@pytest.mark.parametrize("kind", ["integer", "number"])
def test_other_multiples_are_reported_as_dropped(kind: str, step: str) -> None:
    constraint = from_schema(f'{{"type": "{kind}", "multipleOf": {step}}}')

    is_each = kind == "integer" and step in ("0.001", "1e-30")
    assert constraint.not_honoured == (() if is_each else ("format.multipleOf",))
    assert constraint.grammar == from_schema(f'{{"type": "{kind}"}}').grammar


def test_a_few_multiples_of_a_fraction_are_listed() -> None:
    constraint = from_schema(
        '{"type": "number", "multipleOf": 0.3, "minimum": -0.3, "exclusiveMaximum": 0.9}'
    )

    assert plain_json(constraint.schema) == {"enum": [-0.3, 0, 0.3, 0.6]}
    assert accepts(constraint.grammar, "0.6")
    assert not accepts(constraint.grammar, "0.9")
