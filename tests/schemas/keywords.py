"""For each keyword of JSON Schema a schema, texts that obey it, and texts that do not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Json = Mapping[str, object]
_A: Json = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
_B: Json = {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}


@dataclass(frozen=True, slots=True)
class Case:
    """`note`: what a reader of the table has to know."""

    keyword: str
    schema: Json
    obey: Sequence[str]
    break_: Sequence[str]
    note: str = ""

    @property
    def text(self) -> str:
        return json.dumps(self.schema)


def _strings(*values: str) -> list[str]:
    return [json.dumps(value, ensure_ascii=False) for value in values]


def _format(name: str, obey: str, *break_: str) -> Case:
    schema = {"type": "string", "format": name}
    return Case(f"format: {name}", schema, _strings(obey), _strings(*break_))


CASES: Sequence[Case] = [
    Case("type", {"type": "boolean"}, ["true", "false"], ["null", '"true"', "1"]),
    Case("type (a list)", {"type": ["integer", "null"]}, ["1", "null"], ['"a"', "true"]),
    Case(
        "no type",
        {"properties": {"a": {"type": "integer"}}},
        ['{"a":1}', "{}"],
        ['"Hello"', "[1]", '{"b":1}'],
        "the type that the other keywords speak of, as in Ollama",
    ),
    Case("nullable", {"type": "integer", "nullable": True}, ["1", "null"], ['"a"']),
    Case(
        "enum",
        {"enum": ['a"b', 1234567890123456789, 1.5, None, {"x": [1]}]},
        ['"a\\"b"', "1234567890123456789", "1.5", "null", '{"x": [1]}'],
        ["1234567890123456800", '"a"', "{}"],
        "numbers of any length, as they are written",
    ),
    Case("const", {"const": "é"}, _strings("é"), _strings("e", "")),
    Case("properties", _A, ['{"a":1}'], ['{"a":"1"}', "{}", '{"a":1,"z":2}'], "in the order of the schema"),
    Case(
        "properties: {}",
        {"type": "object", "properties": {}},
        ["{}"],
        ['{"a":1}', '{"a":{}}'],
        "no property, as in Ollama; without the keyword, or with one for others' names, any",
    ),
    Case("required", {**_A, "required": ["a", "z"]}, ['{"a":1,"z":[2]}'], ['{"a":1}', '{"z":2}']),
    Case(
        "additionalProperties: false", {**_A, "additionalProperties": False}, ['{"a":1}'], ['{"a":1,"b":2}']
    ),
    Case(
        "additionalProperties: a schema",
        {**_A, "additionalProperties": {"type": "boolean"}},
        ['{"a":1}', '{"a":1,"ab":true}'],
        ['{"a":1,"b":2}', '{"a":1,"a":true}'],
        "where nothing is said and there is `properties`, be it empty: no others, as in Ollama",
    ),
    Case(
        "patternProperties",
        {"type": "object", "patternProperties": {"^k[0-9]$": {"type": "integer"}}},
        ['{"k1":1,"k2":2}'],
        ['{"k":1}', '{"k1":"1"}'],
        "one pattern without other properties; else it is named",
    ),
    Case(
        "propertyNames",
        {
            "type": "object",
            "propertyNames": {"enum": ["x", "y"]},
            "additionalProperties": {"type": "integer"},
        },
        ['{"x":1,"y":2}'],
        ['{"z":1}'],
    ),
    Case("minProperties", {"type": "object", "minProperties": 1}, ['{"a":1}'], ["{}"]),
    Case("maxProperties", {"type": "object", "maxProperties": 1}, ['{"a":1}'], ['{"a":1,"b":1}']),
    Case(
        "unevaluatedProperties",
        {"allOf": [_A], "unevaluatedProperties": {"type": "null"}},
        ['{"a":1,"b":null}'],
        ['{"a":1,"b":1}'],
    ),
    Case("dependentRequired", {**_A, "dependentRequired": {"a": ["b"]}}, ['{"a":1}'], ['{"a":2}']),
    Case("dependentSchemas", {**_A, "dependentSchemas": {"a": _B}}, ['{"a":1}'], ['{"a":2}']),
    Case("items", {"type": "array", "items": {"type": "integer"}}, ["[]", "[1, 2]"], ['["a"]', "[1,true]"]),
    Case(
        "prefixItems",
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}]},
        ["[1,null]"],
        ["[1,2]", "[null,1]", "[1]", "[1,null,3]"],
        "all of them; others only where items says so, as in Ollama",
    ),
    Case("minItems", {"type": "array", "minItems": 2}, ["[1,2]", "[1,2,3]"], ["[]", "[1]"]),
    Case("maxItems", {"type": "array", "maxItems": 2}, ["[]", "[1,2]"], ["[1,2,3]"]),
    Case("uniqueItems", {"type": "array", "uniqueItems": True}, ["[1,2]"], ["[1,1]"]),
    Case("contains", {"type": "array", "contains": {"type": "null"}}, ["[null]"], ["[1]"]),
    Case(
        "minLength",
        {"type": "string", "minLength": 3},
        _strings("abc", 'a"b', "ä\\é"),
        _strings("ab", "", 'a"'),
    ),
    Case("maxLength", {"type": "string", "maxLength": 3}, _strings("", "abc", '\n"\\'), _strings("abcd")),
    Case(
        "pattern",
        {"type": "string", "pattern": "^a[^x]{2}$"},
        _strings("abc", 'a"b', "a\n\\"),
        _strings("ab", "axx", "abcd"),
        "found anywhere in the text unless anchored; with look-around, references or \\b it is named",
    ),
    Case(
        "pattern, not anchored",
        {"type": "string", "pattern": "[0-9]+"},
        _strings("a1b", '"7"'),
        _strings("ab", ""),
    ),
    Case("pattern with look-ahead", {"type": "string", "pattern": "^(?=a)a$"}, _strings("a"), _strings("b")),
    Case(
        "pattern and length",
        {"type": "string", "pattern": "^[a-z]+$", "maxLength": 2},
        _strings("ab"),
        _strings("abc", "A"),
        "of one class of characters; else the length is named",
    ),
    Case("minimum", {"type": "integer", "minimum": -3}, ["-3", "0", "1000"], ["-4", "-1000"]),
    Case("maximum", {"type": "integer", "maximum": 120}, ["120", "-7", "99"], ["121", "1200"]),
    Case("minimum (number)", {"type": "number", "minimum": 0.25}, ["0.25", "0.3", "7"], ["0.2", "0", "-1"]),
    Case("exclusiveMinimum", {"type": "number", "exclusiveMinimum": 0}, ["0.1", "3"], ["0", "0.0", "-1"]),
    Case(
        "exclusiveMaximum", {"type": "number", "exclusiveMaximum": 2.5}, ["2.49", "-3"], ["2.5", "2.51", "3"]
    ),
    Case(
        "bounds above 2^53",
        {"type": "integer", "minimum": 9007199254740993},
        ["9007199254740993"],
        ["9007199254740992"],
    ),
    Case("multipleOf", {"type": "integer", "multipleOf": 7}, ["7"], ["8"]),
    Case(
        "multipleOf, by last digits",
        {"type": "number", "multipleOf": 0.25, "minimum": -2},
        ["-1.25", "0.5", "100"],
        ["-2.25", "0.3", "0.255"],
        "where at most four last digits, and 100 endings, tell: 2, 5, 25, 100, 0.5, 0.01 …",
    ),
    Case(
        "multipleOf between bounds",
        {"type": "integer", "multipleOf": 5, "minimum": -7, "exclusiveMaximum": 990},
        ["-5", "0", "985"],
        ["-10", "6", "990"],
        "up to 200 of them",
    ),
    Case("anyOf", {"anyOf": [{"type": "integer"}, {"type": "null"}]}, ["1", "null"], ['"a"']),
    Case(
        "oneOf",
        {"oneOf": [{"type": "integer"}, {"type": "null"}]},
        ["1", "null"],
        ['"a"'],
        "as anyOf, as in Ollama",
    ),
    Case("allOf", {"allOf": [_A, _B]}, ['{"a":1,"b":true}'], ['{"a":1}', '{"b":true}', "{}"]),
    Case("properties next to anyOf", {**_A, "anyOf": [_B]}, ['{"a":1,"b":true}'], ['{"a":1}', '{"b":true}']),
    Case(
        "required next to anyOf",
        {"properties": {"a": {"type": "integer"}, "b": {"type": "null"}}, "anyOf": [{"required": ["a"]}]},
        ['{"a":1}', '{"a":1,"b":null}'],
        ["{}", '{"b":null}', '"a"'],
    ),
    Case(
        "$ref",
        {
            "$defs": {"N": {"properties": {"n": {"anyOf": [{"$ref": "#/$defs/N"}, {"type": "null"}]}}}},
            "$ref": "#/$defs/N",
        },
        ['{"n":{"n":null}}'],
        ['{"n":1}'],
        "within the schema, also to itself",
    ),
    Case("not", {"type": "integer", "not": {"const": 3}}, ["4"], ["3"]),
    Case("if, then, else", {**_A, "if": _A, "then": _B, "else": _B}, ['{"a":1}'], ['{"a":2}']),
    _format("date", "2026-11-29", "2026-13-01", "29.11.2026", "x"),
    _format("time", "23:59:59Z", "24:00:00Z", "noon"),
    _format("date-time", "2026-11-29T10:00:00.5+01:00", "2026-11-29", "now"),
    _format("duration", "P1DT2H", "1 day", "P"),
    _format("email", "a.b@example.com", "a b@example.com", "example.com"),
    _format("hostname", "a-b.example", "-a", "a b"),
    _format("ipv4", "10.0.0.255", "10.0.0.256", "10.0"),
    _format("ipv6", "2001:db8::1", "2001:db8", "g::1"),
    _format("uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567"),
    _format("uuid4", "123e4567-e89b-42d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
    _format("uri", "https://example.com/a?b=c", "not a link", "example"),
    _format("iri", "https://example.com/é", "not a link"),
    _format("regex", "a+", "["),
    _format("json-pointer", "/a/0", "a"),
    Case(
        "white space",
        {**_A},
        ['{ "a" :\n\n    1 }'],
        ['{\n\n\n"a":1}', '{  "a":1}'],
        "bounded, as in Ollama's grammar",
    ),
]
