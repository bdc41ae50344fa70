"""Schemas that engines handled wrongly, and checks of their answers."""

from __future__ import annotations

from collections.abc import Callable

Json = dict[str, object]
A: Json = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
B: Json = {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}
# "Write a haiku." is not answered with JSON by itself.
POEM = "Write a haiku."
# A link may be as long as the answer.
LINK: Json = {
    "type": "object",
    "properties": {"a": {"type": "string", "format": "uri", "maxLength": 60}},
    "required": ["a"],
}
LINK_BEGINS = r'\{\s*"a"\s*:\s*"[A-Za-z][A-Za-z0-9+.-]*(:[^\s"<>]|$)'


def _has(*names: str) -> Callable[[object], bool]:
    return lambda value: isinstance(value, dict) and set(names) <= set(value)


# What is asked for, what the value must be like, and the names in the header.
KEPT: dict[str, tuple[Json, Callable[[object], bool], str]] = {
    "white space": (A, lambda value: isinstance(value, dict) and isinstance(value["a"], int), ""),
    "allOf": ({"allOf": [A, B]}, _has("a", "b"), ""),
    "properties next to anyOf": ({**A, "anyOf": [B]}, _has("a", "b"), ""),
    "references in allOf": (
        {"$defs": {"A": A}, "allOf": [{"$ref": "#/$defs/A"}, B]},
        _has("a", "b"),
        "",
    ),
    "no type": ({"properties": A["properties"], "required": ["a"]}, _has("a"), ""),
    "large integer": ({"enum": [1234567890123456789]}, lambda value: value == 1234567890123456789, ""),
    "set": (
        {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True, "maxItems": 3},
        lambda value: isinstance(value, list),
        "format.uniqueItems",
    ),
    "secret": (
        {"type": "string", "format": "password", "maxLength": 20},
        lambda value: isinstance(value, str) and len(value) <= 20,
        "",
    ),
    "quotes": ({"const": 'She said "no"\\\n'}, lambda value: value == 'She said "no"\\\n', ""),
    "multiple": (
        {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 99},
        lambda value: isinstance(value, int) and value in range(0, 100, 7),
        "",
    ),
    "too many multiples": (
        {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 9999},
        lambda value: isinstance(value, int) and 0 <= value <= 9999,
        "format.multipleOf",
    ),
}
REFUSED: dict[str, tuple[Json, str]] = {
    "malformed": ({"type": "nonsense"}, "malformed"),
    "unsatisfiable": ({"type": "integer", "minimum": 2, "maximum": 1}, "unsatisfiable"),
    "too large": (
        {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(50_000)}},
        "too large",
    ),
}
