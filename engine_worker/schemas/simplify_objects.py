"""Simplifies schemas of objects: listed properties, required ones, and additional ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drover.errors import ConstraintRejected
from engine_worker.schemas import schema_reader
from engine_worker.schemas.merged import MergedSchema

Schema = dict[str, object]
AllOf = Callable[[Sequence[object]], Schema | None]
Inline = Callable[[Schema], Schema]
Drop = Callable[[str], None]
# Each of them may come next at any of their positions: grammars grow with the square of their number.
MAX_OPTIONAL = 256


def simplify_object(merged: MergedSchema, all_of: AllOf, inline: Inline, drop: Drop) -> Schema | None:
    """A simple schema of an object; None if a required property is impossible."""
    parts: dict[str, list[object]] = {}
    for value in merged.all("properties"):
        for name, schema in schema_reader.mapping("properties", value).items():
            parts.setdefault(name, []).append(schema)
    others = _others(merged, bool(parts), all_of, inline, drop)
    required = _required(merged, parts, others, drop)
    properties: dict[str, Schema] = {}
    for name, schemas in parts.items():
        simple = all_of(schemas)
        if simple is not None:
            properties[name] = simple
        elif name in required:
            return None
    if len(properties) - len(required) > MAX_OPTIONAL:
        raise ConstraintRejected(
            f"the JSON schema is too large: an object has {len(properties) - len(required)} properties that "
            f"are not required, at most {MAX_OPTIONAL} are possible"
        )
    _report_counts(merged, len(properties), len(required), others.are_closed, drop)
    piece: Schema = {"type": "object", "properties": properties, "required": required}
    piece["additionalProperties"] = False if others.schema is None else others.schema
    if others.names is not None and others.schema is not None:
        piece["propertyNames"] = others.names
    return piece


class _Additional:
    """Additional properties, which `properties` does not list. `schema`: None if they are not allowed.
    `names`: schema of their names. `is_explicit`: the schema forbids them itself.
    """

    def __init__(self, schema: Schema | None, names: Schema | None, schemas: list[object]) -> None:
        self.schema = schema
        self.names = names
        self.schemas = schemas
        self.is_explicit = any(each is False for each in schemas)

    @property
    def are_closed(self) -> bool:
        return self.schema is None


def _others(
    merged: MergedSchema, has_properties: bool, all_of: AllOf, inline: Inline, drop: Drop
) -> _Additional:
    """Closed objects in an `allOf` are closed together: taken literally, two of them would allow only an
    empty object, and schema generators write intersections of objects like that.
    """
    additional = [*merged.all("additionalProperties"), *merged.all("unevaluatedProperties")]
    patterned = _patterned(merged, has_properties or any(each is not False for each in additional), drop)
    if patterned is not None:
        pattern, schema = patterned
        return _Additional(all_of([schema]), {"type": "string", "pattern": pattern}, [schema])
    if any(each is False for each in additional) or (not additional and _lists_all(merged, has_properties)):
        return _Additional(None, None, additional)
    names = merged.all("propertyNames")
    simple_names = all_of(names) if names else None
    if names and simple_names is None:
        return _Additional(None, None, additional)
    simple_names = inline(simple_names) if simple_names is not None else None
    if simple_names is not None and not _are_names(simple_names):
        drop("propertyNames")
        simple_names = None
    return _Additional(all_of(additional), simple_names, additional)


def _lists_all(merged: MergedSchema, has_properties: bool) -> bool:
    """Whether the object has only the listed properties. As in Ollama an empty `properties` lists none,
    unless another keyword describes names of additional ones.
    """
    names_others = merged.all("patternProperties") or merged.all("propertyNames")
    return has_properties or bool(merged.all("properties") and not names_others)


def _patterned(merged: MergedSchema, has_others: bool, drop: Drop) -> tuple[str, object] | None:
    """The pattern and schema of `patternProperties`, kept only if it is the only one and the object has no
    other properties.
    """
    wanted = [
        (pattern, schema)
        for value in merged.all("patternProperties")
        for pattern, schema in schema_reader.mapping("patternProperties", value).items()
    ]
    if len(wanted) == 1 and not has_others and not merged.all("propertyNames"):
        return wanted[0]
    if wanted:
        drop("patternProperties")
    return None


def _are_names(schema: Schema) -> bool:
    values = schema.get("enum")
    if isinstance(values, list):
        return all(isinstance(value, str) for value in values)
    return schema.get("type") == "string"


def _required(
    merged: MergedSchema, parts: dict[str, list[object]], others: _Additional, drop: Drop
) -> list[str]:
    """Required names. One that is not listed may have any value; if additional properties are forbidden it is
    dropped, as in Ollama.
    """
    names = [name for value in merged.all("required") for name in schema_reader.texts("required", value)]
    required: list[str] = []
    for name in dict.fromkeys(names):
        if name not in parts:
            if others.is_explicit:
                drop("required")
                continue
            parts[name] = [each for each in others.schemas if each is not True]
        required.append(name)
    return required


def _report_counts(
    merged: MergedSchema, properties: int, required: int, are_closed: bool, drop: Drop
) -> None:
    """Report `minProperties` and `maxProperties` unless the other keywords imply them."""
    for value in merged.all("minProperties"):
        if (least := schema_reader.count(value)) is None or least > required:
            drop("minProperties")
    for value in merged.all("maxProperties"):
        if (most := schema_reader.count(value)) is None or not are_closed or most < properties:
            drop("maxProperties")
