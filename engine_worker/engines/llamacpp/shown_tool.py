"""A function's parameters as Ollama shows them to a model: what its decoder keeps, in its order."""

from __future__ import annotations

from typing import cast

from engine_worker.engines.llamacpp.api import Json

_OF_PARAMETERS = ("$defs", "items", "required")
_OF_PROPERTY = ("anyOf", "type", "items", "description", "enum", "properties", "required")


def shown_parameters(parameters: object) -> Json:
    """One thing is kept that Ollama drops: a property's `$ref`, without which it would say nothing."""
    known = _object(parameters)
    kept = {name: known[name] for name in _OF_PARAMETERS if known.get(name)}
    return {"type": known.get("type") or "object", **kept, "properties": _properties(known)}


def _properties(schema: Json) -> Json:
    return {name: _property(value) for name, value in _object(schema.get("properties")).items()}


def _property(schema: object) -> Json:
    known = _object(schema)
    kept: Json = {name: known[name] for name in ("$ref", *_OF_PROPERTY) if known.get(name)}
    if "properties" in kept:
        kept["properties"] = _properties(known)
    if isinstance(kept.get("anyOf"), list):
        kept["anyOf"] = [_property(each) for each in cast("list[object]", known["anyOf"])]
    return kept


def _object(value: object) -> Json:
    return value if isinstance(value, dict) else {}
