"""`enum` and `const` next to other keywords."""

from __future__ import annotations

import json

import pytest

from drover.errors import ConstraintRejected
from engine_worker.schemas.constraint import from_schema, plain_json
from tests.schemas.llguidance_accepts import accepts


@pytest.mark.parametrize(
    ("schema", "left"),
    [
        ({"type": "integer", "enum": [1, 5, 9], "minimum": 4}, [5, 9]),
        ({"enum": [1, 5, 9], "exclusiveMaximum": 9, "maximum": 20}, [1, 5]),
        ({"enum": ["a", "bcd", 7, True], "maxLength": 1, "minimum": 8}, ["a", True]),
        ({"allOf": [{"const": "abc"}, {"minLength": 3}]}, ["abc"]),
        ({"enum": [1, 2, 2.5, 5, "a"], "multipleOf": 2.5}, [2.5, 5, "a"]),
    ],
)
def test_bounds_and_lengths_exclude_values(schema: dict[str, object], left: list[object]) -> None:
    constraint = from_schema(json.dumps(schema))
    assert plain_json(constraint.schema) == {"enum": left}
    assert constraint.not_honoured == ()


def test_no_value_left_is_unsatisfiable() -> None:
    with pytest.raises(ConstraintRejected, match="unsatisfiable"):
        from_schema('{"const": 3, "minimum": 4}')


@pytest.mark.parametrize(
    ("keyword", "schema"),
    [
        ("pattern", {"enum": ["a", "b"], "pattern": "a"}),
        ("multipleOf", {"enum": [1, 2], "multipleOf": 0}),
        ("minItems", {"enum": [[1], []], "minItems": 1}),
        ("required", {"const": {"a": 1}, "required": ["b"]}),
    ],
)
def test_other_keywords_are_reported_as_dropped(keyword: str, schema: dict[str, object]) -> None:
    assert from_schema(json.dumps(schema)).not_honoured == (f"format.{keyword}",)


def test_keywords_of_another_type_have_no_effect() -> None:
    assert from_schema('{"enum": [1, 2], "pattern": "a", "minItems": 1}').not_honoured == ()


def test_bounds_of_many_digits_are_not_rounded() -> None:
    least, most = -1234567890123456789012345678901, -1234567890123456789012345678900
    grammar = from_schema(json.dumps({"type": "number", "minimum": least, "maximum": most})).grammar
    assert accepts(grammar, str(least))
    assert accepts(grammar, str(most))
    assert not accepts(grammar, "-1234567890123456789012345679000")
