"""Builders of JSON schemas. `about` is a schema's description, `more` has further keywords."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from drover.json_value import Json

Schema = dict[str, Json]


def text(about: str = "", **more: Json) -> Schema:
    return _typed("string", about, more)


def boolean(about: str = "", **more: Json) -> Schema:
    return _typed("boolean", about, more)


def integer(about: str = "", **more: Json) -> Schema:
    return _typed("integer", about, more)


def number(about: str = "", **more: Json) -> Schema:
    return _typed("number", about, more)


def anything(about: str) -> Schema:
    return {"description": about}


def array(items: Schema, about: str = "", **more: Json) -> Schema:
    return _typed("array", about, {"items": items, **more})


def mapping(values: Schema, about: str = "") -> Schema:
    """An object with arbitrary keys."""
    return _typed("object", about, {"additionalProperties": values})


def struct(
    properties: Mapping[str, Schema], required: Sequence[str] = (), about: str = "", **more: Json
) -> Schema:
    members: dict[str, Json] = {"properties": {**properties}}
    if required:
        members["required"] = [*required]
    return _typed("object", about, {**members, **more})


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def any_of(*schemas: Schema, about: str = "") -> Schema:
    return {**_described(about), "anyOf": [*schemas]}


def or_null(schema: Schema) -> Schema:
    """The schema or `null`, which equals an absent field (ollama-contract.md, "Reading a request")."""
    kinds, choices, values = schema.get("type"), schema.get("anyOf"), schema.get("enum")
    if isinstance(values, list) and None not in values:
        return or_null({**schema, "enum": [*values, None]})
    if isinstance(choices, list):
        return {**schema, "anyOf": [*choices, {"type": "null"}]}
    if kinds is None:
        return any_of(schema, {"type": "null"})
    return {**schema, "type": [*(kinds if isinstance(kinds, list) else [kinds]), "null"]}


def request(
    fields: Mapping[str, Schema], required: Sequence[str] = (), about: str = "", **more: Json
) -> Schema:
    """A request body, or an object in one. Fields that are not required may be null."""
    lenient = {name: schema if name in required else or_null(schema) for name, schema in fields.items()}
    return struct(lenient, required, about, additionalProperties=True, **more)


def named_by_either(fields: Mapping[str, Schema]) -> Schema:
    """A request body that names its model in `model`, or in `name` as old clients do."""
    return request(fields, anyOf=[{"required": ["model"]}, {"required": ["name"]}])


def _typed(kind: str, about: str, more: Mapping[str, Json]) -> Schema:
    return {"type": kind, **_described(about), **more}


def _described(about: str) -> Schema:
    return {"description": about} if about else {}
