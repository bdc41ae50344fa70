"""Simplified schemas of those that clients write."""

from __future__ import annotations

import json

import pytest

from drover.errors import ConstraintRejected
from engine_worker.schemas.constraint import from_schema, plain_json
from engine_worker.schemas.schema_to_grammar import Grammar
from engine_worker.schemas.simplify import MAX_PLACES
from tests.schemas.llguidance_accepts import accepts

Json = dict[str, object]
A: Json = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
B: Json = {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}
BOTH: Json = {
    "type": "object",
    "properties": {"a": {"type": "integer"}, "b": {"type": "boolean"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}


def _simple(schema: object) -> object:
    """References put in, where they do not lead back."""
    constraint = from_schema(json.dumps(schema))
    simple = plain_json(constraint.schema)
    assert isinstance(simple, dict)
    definitions = simple.pop("$defs", {})
    return definitions[simple["$ref"].removeprefix("#/$defs/")] if "$ref" in simple else simple


def _grammar(schema: object) -> Grammar:
    return from_schema(json.dumps(schema)).grammar


def _dropped(schema: object) -> tuple[str, ...]:
    return from_schema(json.dumps(schema)).not_honoured


@pytest.mark.parametrize(
    "schema",
    [
        {"allOf": [A, B]},
        {**A, "allOf": [B]},
        {"$defs": {"B": A}, "allOf": [{"$ref": "#/$defs/B"}, B]},
        {"$defs": {"B": B}, "$ref": "#/$defs/B", **A},
        {"allOf": [{**A, "additionalProperties": False}, {**B, "additionalProperties": False}]},
        {"properties": A["properties"], "anyOf": [{"required": ["a", "b"], "properties": B["properties"]}]},
    ],
)
def test_merged_objects_are_closed_once(schema: Json) -> None:
    simple = _simple(schema)

    assert isinstance(simple, dict)
    assert {**simple, "required": sorted(simple["required"])} == BOTH
    assert list(simple["properties"]) in (["a", "b"], ["b", "a"])


def test_properties_next_to_alternatives_are_in_each_of_them() -> None:
    schema = {**A, "oneOf": [B, {"properties": {"c": {"type": "null"}}}]}
    simple = _simple(schema)

    assert isinstance(simple, dict)
    first, second = simple["anyOf"]
    assert first == BOTH
    assert list(second["properties"]) == ["a", "c"]


def test_alternatives_that_only_require_something() -> None:
    properties = {"a": {"type": "integer"}, "b": {"type": "boolean"}}
    simple = _simple({"properties": properties, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]})

    assert isinstance(simple, dict)
    assert [(option["type"], option["required"]) for option in simple["anyOf"]] == [
        ("object", ["a"]),
        ("object", ["b"]),
    ]


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        ({"properties": {"a": {}}}, "object"),
        ({"required": ["a"]}, "object"),
        ({"items": {"type": "boolean"}}, "array"),
        ({"prefixItems": [{"type": "boolean"}]}, "array"),
        ({"minLength": 2}, "string"),
        ({"format": "date"}, "string"),
        ({"minimum": 2}, "number"),
    ],
)
def test_a_schema_without_a_type_implies_that_of_its_keywords(schema: Json, kind: str) -> None:
    simple = _simple(schema)

    assert isinstance(simple, dict)
    assert simple["type"] == kind


LISTS_NONE = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    "schema",
    [
        LISTS_NONE,
        {"properties": {}},
        {"$ref": "#/$defs/N", "$defs": {"N": LISTS_NONE}, "description": "none"},
        {"allOf": [LISTS_NONE, {"type": "object"}]},
        {"allOf": [LISTS_NONE, {"type": "object", "additionalProperties": False}]},
        {"type": ["object", "null"], "properties": {}},
    ],
)
def test_an_empty_list_of_properties_closes_an_object(schema: Json) -> None:
    grammar = from_schema(
        json.dumps({"type": "object", "properties": {"a": schema}, "required": ["a"]})
    ).grammar

    assert accepts(grammar, '{"a": {}}')
    assert not accepts(grammar, '{"a": {"b": 1}}')


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object"},
        {**LISTS_NONE, "additionalProperties": True},
        {**LISTS_NONE, "additionalProperties": {"type": "integer"}},
        {**LISTS_NONE, "patternProperties": {"^b$": {"type": "integer"}}},
        {**LISTS_NONE, "patternProperties": {"^b$": {}, "^c$": {}}},
        {**LISTS_NONE, "propertyNames": {"enum": ["b"]}},
        {"allOf": [LISTS_NONE, {"properties": {"b": {"type": "integer"}}}]},
        {"anyOf": [LISTS_NONE, {"type": "object"}]},
        {**LISTS_NONE, "required": ["b"]},
    ],
)
def test_an_object_is_open_if_additional_properties_are_described(schema: Json) -> None:
    assert accepts(from_schema(json.dumps(schema)).grammar, '{"b": 1}')


@pytest.mark.parametrize(
    ("bounds", "values"),
    [
        ({"minimum": -7, "maximum": 7}, [-6, -3, 0, 3, 6]),
        ({"exclusiveMinimum": -6, "exclusiveMaximum": 6}, [-3, 0, 3]),
        ({"minimum": -0.5, "maximum": 6.5}, [0, 3, 6]),
        ({"minimum": 10**20, "maximum": 10**20 + 5}, [10**20 + 2, 10**20 + 5]),
        ({"minimum": 1, "maximum": 20, "allOf": [{"multipleOf": 2}]}, [6, 12, 18]),
    ],
)
def test_a_few_multiples_are_listed(bounds: Json, values: list[int]) -> None:
    assert _simple({"type": "integer", "multipleOf": 3, **bounds}) == {"enum": values}


def test_no_multiple_between_the_bounds() -> None:
    with pytest.raises(ConstraintRejected, match="unsatisfiable"):
        from_schema('{"type": "integer", "multipleOf": 10, "minimum": 11, "maximum": 19}')


def test_recursion_stays_a_reference() -> None:
    node = {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}}
    schema = from_schema(json.dumps(node)).schema

    assert schema is not None
    assert len(schema["$defs"]) == 1  # type: ignore[arg-type]  # JSON values are objects


_INTEGER: Json = {"type": "integer"}
_STRING: Json = {"type": "string"}


@pytest.mark.parametrize(
    ("schema", "simple"),
    [
        ({"anyOf": [_INTEGER, {"$ref": "#"}]}, _INTEGER),
        ({"oneOf": [{"$ref": "#"}, _INTEGER]}, _INTEGER),
        ({"anyOf": [_INTEGER, {"$ref": "#", "minimum": 3}]}, _INTEGER),
        ({"anyOf": [_INTEGER, {"allOf": [{"$ref": "#"}]}]}, _INTEGER),
        ({"allOf": [{"anyOf": [_INTEGER, {"$ref": "#"}]}]}, _INTEGER),
        (
            {"anyOf": [_INTEGER, {"anyOf": [_STRING, {"$ref": "#"}]}]},
            {"anyOf": [_INTEGER, _STRING]},
        ),
        (
            {"anyOf": [{"$ref": "#/$defs/A"}], "$defs": {"A": {"oneOf": [_STRING, {"$ref": "#"}]}}},
            _STRING,
        ),
    ],
)
def test_a_cyclic_alternative_adds_no_value(schema: Json, simple: Json) -> None:
    assert _simple(schema) == simple


def test_a_nested_cyclic_alternative() -> None:
    simple = _simple({"properties": {"a": {"anyOf": [_INTEGER, {"$ref": "#/properties/a"}]}}})

    assert isinstance(simple, dict)
    assert simple["properties"] == {"a": _INTEGER}


def test_mutually_cyclic_alternatives() -> None:
    definitions = {
        "S": {"anyOf": [{"$ref": "#/$defs/T"}, _INTEGER]},
        "T": {"anyOf": [{"$ref": "#/$defs/S"}, _STRING]},
    }
    grammar = _grammar({"$defs": definitions, "allOf": [{"$ref": "#/$defs/S"}, {"$ref": "#/$defs/T"}]})

    assert accepts(grammar, "1")
    assert accepts(grammar, '"a"')
    assert not accepts(grammar, "true")


def test_an_alternative_may_repeat_the_schema() -> None:
    definitions = {"A": {"anyOf": [_INTEGER, _STRING]}}
    either = {"anyOf": [{"$ref": "#/$defs/A"}, {"type": "boolean"}]}
    grammar = _grammar({"$defs": definitions, "allOf": [{"$ref": "#/$defs/A"}, either]})

    assert accepts(grammar, "1")
    assert accepts(grammar, '"a"')
    assert not accepts(grammar, "true")


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#", "title": "x"},
        {"allOf": [{"$ref": "#"}]},
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}},
        {"properties": {"a": {"$ref": "#/properties/a"}}},
        {"type": "array", "items": {"$ref": "#/items"}},
        {"anyOf": [{"$ref": "#"}]},
    ],
)
def test_a_schema_that_only_refers_to_itself_is_rejected(schema: Json) -> None:
    with pytest.raises(ConstraintRejected, match=r"leads back to itself|unsatisfiable"):
        from_schema(json.dumps(schema))


def test_a_cyclic_reference_next_to_other_keywords() -> None:
    assert _simple({"$ref": "#", "type": "integer"}) == _INTEGER
    assert _simple({"$ref": "#/$defs/Any", "$defs": {"Any": {}}}) == {}


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ({"type": "string", "title": "A", "description": "b", "default": "c", "x-order": 1}, ()),
        ({"type": "string", "format": "password"}, ()),
        ({"type": "string", "format": "iri"}, ("format.format",)),
        ({"type": "string", "format": 5}, ("format.format",)),
        ({"type": "string", "pattern": "^(?=a)a$"}, ("format.pattern",)),
        ({"type": "string", "pattern": "[a-"}, ("format.pattern",)),
        ({"type": "string", "pattern": "^a+$", "maxLength": 3}, ()),
        ({"type": "string", "pattern": "^(ab)+$", "maxLength": 3}, ("format.maxLength",)),
        ({"type": "string", "format": "date", "pattern": "^2"}, ("format.format",)),
        ({"type": "string", "format": "ulid", "pattern": "^2"}, ()),
        ({"type": "string", "pattern": "^a{1,3}$", "maxLength": 3, "minLength": 1}, ()),
        ({"type": "array", "uniqueItems": True}, ("format.uniqueItems",)),
        ({"type": "array", "uniqueItems": False}, ()),
        ({"type": "array", "contains": {}, "minItems": "x"}, ("format.contains", "format.minItems")),
        ({"type": "number", "multipleOf": 0.001}, ("format.multipleOf",)),
        ({"type": "integer", "multipleOf": 1}, ()),
        ({"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 1393}, ()),
        ({"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 1400}, ("format.multipleOf",)),
        ({"type": "integer", "multipleOf": 7, "minimum": 0}, ("format.multipleOf",)),
        ({"type": "integer", "multipleOf": 0.5, "minimum": 0, "maximum": 9}, ()),
        ({"type": "integer", "multipleOf": 0, "minimum": 0, "maximum": 9}, ("format.multipleOf",)),
        ({"type": "integer", "multipleOf": "x", "minimum": 0, "maximum": 9}, ("format.multipleOf",)),
        ({"type": "number", "minimum": "x"}, ("format.minimum",)),
        ({"type": "integer", "maximum": 1e50}, ("format.maximum",)),
        ({"type": "number", "maximum": 1e300, "minimum": -1e300}, ()),
        ({"not": {"type": "string"}}, ("format.not",)),
        ({**A, "if": {}, "then": {}, "else": {}}, ("format.if", "format.then", "format.else")),
        ({**A, "minProperties": 1, "maxProperties": 1}, ()),
        ({**A, "minProperties": 2}, ("format.minProperties",)),
        ({**A, "additionalProperties": False, "required": ["a", "z"]}, ("format.required",)),
        ({**A, "minimun": 2}, ("format.minimun",)),
        ({"type": "object", "patternProperties": {"^a$": {}, "^b$": {}}}, ("format.patternProperties",)),
    ],
)
def test_dropped_keywords_are_reported(schema: Json, names: tuple[str, ...]) -> None:
    assert _dropped(schema) == names


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (5, "must be an object or a boolean, not 5"),
        ({"type": 5}, "`type` 5 is none of"),
        ({"type": "nonsense"}, '`type` "nonsense" is none of'),
        ({"properties": 5}, "`properties` must be an object, not 5"),
        ({"required": "a"}, '`required` must be a list of strings, not "a"'),
        ({"enum": 5}, "`enum` must be a list, not 5"),
        ({"anyOf": {}}, "`anyOf` must be a list"),
        ({"$ref": "#/$defs/A"}, "leads nowhere"),
        ({"$ref": "https://example.com/a.json"}, "leads out of the schema"),
        (False, "unsatisfiable"),
        ({"enum": []}, "unsatisfiable"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "unsatisfiable"),
        ({"type": "integer", "minimum": 2.1, "maximum": 2.9}, "unsatisfiable"),
        ({"type": "number", "exclusiveMinimum": 2, "maximum": 2}, "unsatisfiable"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "unsatisfiable"),
        ({"type": "array", "minItems": 3, "maxItems": 2}, "unsatisfiable"),
        ({"allOf": [{"type": "string"}, {"type": "boolean"}]}, "unsatisfiable"),
        ({**A, "properties": {"a": False}}, "unsatisfiable"),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "no value of finite length"),
    ],
)
def test_invalid_and_unsatisfiable_schemas_are_rejected_with_a_reason(schema: object, why: str) -> None:
    with pytest.raises(ConstraintRejected, match=why.replace("$", r"\$")):
        from_schema(json.dumps(schema))


def test_too_many_combinations_are_rejected() -> None:
    choices = [{"anyOf": [{"required": [f"p{each}"]}, {"required": [f"q{each}"]}]} for each in range(20)]

    assert 2 ** len(choices) > MAX_PLACES
    with pytest.raises(ConstraintRejected, match="too large"):
        from_schema(json.dumps({"allOf": choices}))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 300 + "]" * 300, "nested too deep: 300"),
        ('{"minimum": NaN}', "not a number in JSON"),
        ("{", "is not JSON"),
        ('{"type": "integer", "enum": [1e5000]}', "the number 1e5000, which is too large"),
        ('{"minLength": 1e-5000}', "the number 1e-5000, which is too large or too small"),
        ('{"const": 1e99999999999999999999}', "which is too large"),
        (f'{{"title": "{"x" * 600_000}"}}', "characters, at most"),
    ],
)
def test_schema_texts_that_are_rejected(text: str, why: str) -> None:
    with pytest.raises(ConstraintRejected, match=why):
        from_schema(text)


def test_brackets_in_strings_do_not_count_as_depth() -> None:
    assert _dropped({"type": "string", "description": "[" * 500}) == ()


def test_repeated_merging_is_bounded() -> None:
    many = [{"minLength": 1} for _ in range(1000)]

    with pytest.raises(ConstraintRejected, match="schemas would have to be merged"):
        from_schema(json.dumps({"allOf": many, "anyOf": many}))


def test_many_schemas_for_one_value_are_merged_once() -> None:
    assert _simple({"allOf": [{"minLength": 1}] * 20_000}) == {"type": "string", "minLength": 1}


@pytest.mark.parametrize(
    "schema",
    [
        {
            "$ref": "#/$defs/d0",
            "$defs": {
                **{f"d{at}": {"items": {"$ref": f"#/$defs/d{at + 1}"}} for at in range(2000)},
                "d2000": {},
            },
        },
        json.loads('{"items":' * 190 + "{}" + "}" * 190),
        {"const": json.loads("[" * 190 + "]" * 190)},
    ],
    ids=["references", "items", "constant"],
)
def test_too_deep_nesting_is_rejected(schema: object) -> None:
    with pytest.raises(ConstraintRejected, match="nested too deep"):
        from_schema(json.dumps(schema))


def test_one_and_true_are_two_alternatives() -> None:
    options = [{"const": 1}, {"const": True}, {"const": 1}]

    assert _simple({"anyOf": options}) == {"anyOf": [{"enum": [1]}, {"enum": [True]}]}


def test_a_number_and_its_text_differ() -> None:
    with pytest.raises(ConstraintRejected, match="unsatisfiable"):
        from_schema('{"enum": ["1.5"], "const": 1.5}')
