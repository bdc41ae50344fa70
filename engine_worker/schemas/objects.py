"""Objects: their properties, when everything that holds for them is known, and which others may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from drover.errors import ConstraintRejected
from engine_worker.schemas import malformed
from engine_worker.schemas.merged import Merged

Schema = dict[str, object]
AllOf = Callable[[Sequence[object]], Schema | None]
Inline = Callable[[Schema], Schema]
Drop = Callable[[str], None]
# Each may be the next one, wherever one of them may: engines' libraries need the square of their number.
MOST_OPTIONAL = 256


def object_piece(merged: Merged, all_of: AllOf, inline: Inline, drop: Drop) -> Schema | None:
    """None where a property that must be there cannot be."""
    parts: dict[str, list[object]] = {}
    for value in merged.all("properties"):
        for name, schema in malformed.mapping("properties", value).items():
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
    if len(properties) - len(required) > MOST_OPTIONAL:
        raise ConstraintRejected(
            f"the JSON schema is too large: an object has {len(properties) - len(required)} properties that "
            f"are not required, at most {MOST_OPTIONAL} are possible"
        )
    _counted(merged, len(properties), len(required), others.are_closed, drop)
    piece: Schema = {"type": "object", "properties": properties, "required": required}
    piece["additionalProperties"] = False if others.schema is None else others.schema
    if others.names is not None and others.schema is not None:
        piece["propertyNames"] = others.names
    return piece


class _Others:
    """Properties that `properties` does not name. `schema` None: there are none. `is_explicit`: the schema
    says so.
    """

    def __init__(self, schema: Schema | None, names: Schema | None, said: list[object]) -> None:
        self.schema = schema
        self.names = names
        self.said = said
        self.is_explicit = any(each is False for each in said)

    @property
    def are_closed(self) -> bool:
        return self.schema is None


def _others(merged: Merged, has_properties: bool, all_of: AllOf, inline: Inline, drop: Drop) -> _Others:
    """Closed objects in an `allOf` are closed together: by the letter nothing but an empty object would obey
    two of them, and programs that intersect objects write them so.
    """
    said = [*merged.all("additionalProperties"), *merged.all("unevaluatedProperties")]
    patterned = _patterned(merged, has_properties or bool([each for each in said if each is not False]), drop)
    if patterned is not None:
        pattern, schema = patterned
        return _Others(all_of([schema]), {"type": "string", "pattern": pattern}, [schema])
    if any(each is False for each in said) or (not said and _lists_all(merged, has_properties)):
        return _Others(None, None, said)
    names = merged.all("propertyNames")
    simple_names = all_of(names) if names else None
    if names and simple_names is None:
        return _Others(None, None, said)
    simple_names = inline(simple_names) if simple_names is not None else None
    if simple_names is not None and not _are_names(simple_names):
        drop("propertyNames")
        simple_names = None
    return _Others(all_of(said), simple_names, said)


def _lists_all(merged: Merged, has_properties: bool) -> bool:
    """An empty list is one too, as in Ollama, unless a keyword speaks of the names of others."""
    names_others = merged.all("patternProperties") or merged.all("propertyNames")
    return has_properties or bool(merged.all("properties") and not names_others)


def _patterned(merged: Merged, has_others: bool, drop: Drop) -> tuple[str, object] | None:
    """One pattern can be kept, where it stands alone."""
    wanted = [
        (pattern, schema)
        for value in merged.all("patternProperties")
        for pattern, schema in malformed.mapping("patternProperties", value).items()
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


def _required(merged: Merged, parts: dict[str, list[object]], others: _Others, drop: Drop) -> list[str]:
    """A name that no `properties` has may hold anything, unless others are forbidden: then it is dropped, as
    Ollama does.
    """
    names = [name for value in merged.all("required") for name in malformed.texts("required", value)]
    required: list[str] = []
    for name in dict.fromkeys(names):
        if name not in parts:
            if others.is_explicit:
                drop("required")
                continue
            parts[name] = [each for each in others.said if each is not True]
        required.append(name)
    return required


def _counted(merged: Merged, properties: int, required: int, are_closed: bool, drop: Drop) -> None:
    """Says of a number of properties that the rest of the schema does not see to it."""
    for value in merged.all("minProperties"):
        if (least := malformed.count(value)) is None or least > required:
            drop("minProperties")
    for value in merged.all("maxProperties"):
        if (most := malformed.count(value)) is None or not are_closed or most < properties:
            drop("maxProperties")
