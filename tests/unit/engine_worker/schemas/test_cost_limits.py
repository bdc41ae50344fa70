"""Costs are computed before an engine sees a schema, a pattern or a grammar."""

from __future__ import annotations

import json

import pytest

from drover.errors import ConstraintRejected
from engine_worker.schemas.constraint import MAX_POSITIONS, from_ebnf, from_regex, from_schema
from engine_worker.schemas.cost_limits import MAX_EBNF_CHARACTERS, check_ebnf, cost_of
from engine_worker.schemas.gbnf_writer import gbnf_text
from tests.support.cpu_time import within_cpu

Json = dict[str, object]
_TEXT: Json = {"type": "string"}


def _object(properties: int, required: int = 0) -> Json:
    names = [f"p{number}" for number in range(properties)]
    return {"type": "object", "properties": dict.fromkeys(names, _TEXT), "required": names[:required]}


def _nested(levels: int, count: int) -> str:
    return "(" * levels + "ab" + f"){{1,{count}}}" * levels


@pytest.mark.parametrize(
    "schema",
    [
        _object(257),
        _object(50_000, 50_000),
        {"enum": [f"value {number} of many" for number in range(40_000)]},
        {"type": "string", "pattern": f"^{_nested(4, 100)}$"},
        {"anyOf": [_object(20, 20) | {"title": str(number)} for number in range(2_000)]},
    ],
    ids=["optional properties", "properties", "values", "counts within counts", "alternatives"],
)
def test_a_schema_that_is_too_large_is_rejected_quickly(schema: Json) -> None:
    with within_cpu(20), pytest.raises(ConstraintRejected, match="too large"):
        from_schema(json.dumps(schema))


@pytest.mark.parametrize(
    "schema",
    [
        _object(256),
        _object(1_000, 1_000),
        {"enum": [f"value {number}" for number in range(2_000)]},
        {"type": "string", "minLength": 1, "maxLength": 100_000},
        {"type": "string", "pattern": "^[a-z]{1,5000}$"},
        {"type": "array", "items": {"type": "array", "items": _TEXT, "maxItems": 1_000}, "maxItems": 1_000},
    ],
)
def test_a_large_schema_within_the_limit_is_accepted(schema: Json) -> None:
    assert cost_of(from_schema(json.dumps(schema)).grammar.rules) <= MAX_POSITIONS


def test_an_arithmetic_keyword_costs_nothing_since_no_engine_sees_it() -> None:
    constraint = from_schema(json.dumps({"type": "integer", "multipleOf": 10**9 + 7}))

    assert constraint.not_honoured == ("format.multipleOf",)
    assert constraint.grammar == from_schema('{"type": "integer"}').grammar


def test_patterns_of_a_whole_answer() -> None:
    assert from_regex(_nested(2, 100))
    with pytest.raises(ConstraintRejected, match="the regex is too large"):
        from_regex(_nested(4, 100))
    with pytest.raises(ConstraintRejected, match="look-around"):
        from_regex("(?=a)a")


@pytest.mark.parametrize(
    ("grammar", "is_refused"),
    [
        ('root ::= "yes" | "no"', False),
        ('root ::= a{1,1000} # "{1,9}"\na ::= ("x" | [0-9{}]){5}', False),
        ('root ::= (("a" "b"){1,100} "c"){1,100} "d"', False),
        ('root ::= (((("a" "b"){1,100} "c"){1,100} "d"){1,100} "e"){100}', True),
        (f"root ::= {'x' * MAX_EBNF_CHARACTERS}", True),
    ],
)
def test_cost_of_a_clients_ebnf(grammar: str, is_refused: bool) -> None:
    if not is_refused:
        check_ebnf(grammar, MAX_POSITIONS)
        return
    with pytest.raises(ConstraintRejected, match="the EBNF is too large"):
        check_ebnf(grammar, MAX_POSITIONS)


def test_long_patterns_are_not_read() -> None:
    long = "[ab]?" * 100_000
    with within_cpu(2):
        assert from_schema(json.dumps({"type": "string", "pattern": long})).not_honoured == (
            "format.pattern",
        )
        with pytest.raises(
            ConstraintRejected, match="regex: it has 500000 characters, at most 65536 are possible"
        ):
            from_regex(long)


def test_many_optional_parts_are_counted_once_for_gbnf() -> None:
    grammar = from_ebnf('root ::= "x" root "y" | ' + '"a"? ' * 8000).grammar
    with within_cpu(5), pytest.raises(ConstraintRejected, match="alternatives at one position"):
        gbnf_text(grammar)
