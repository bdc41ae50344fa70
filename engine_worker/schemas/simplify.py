"""Simplifies any schema: the result allows the same values, as far as a grammar can express that.

A simple schema is {} (any value), {"enum"}, {"anyOf"}, {"$ref"}, or one type with the keywords that
schema_to_grammar.py knows. References are resolved; all schemas that hold for one value are merged (`allOf`,
and keywords next to `anyOf` or `$ref`); objects allow only listed properties, decided once all of them are
known. Ollama's grammar does the same, and a small model that may add properties seldom stops.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from drover.errors import ConstraintRejected
from engine_worker.schemas.alternatives import GROUPS, ChosenAlternatives, has_cycle
from engine_worker.schemas.keywords import constrains, is_reported
from engine_worker.schemas.merged import MergedSchema
from engine_worker.schemas.references import References
from engine_worker.schemas.schema_reader import listed, refuse, shown
from engine_worker.schemas.simplify_types import TypeSimplifier

Schema = dict[str, object]
# Values that a schema describes; one that is referred to several times counts once.
MAX_PLACES = 10_000
# Schemas merged for all values together: 0.5 s of work.
_MAX_MERGED = 50_000
REFERENCE = "#/$defs/"
_FOLLOWED = {"$ref", "$dynamicRef", "$recursiveRef", "allOf", "$defs", "definitions"}

_NO_CHOICES = ChosenAlternatives()


@dataclass(slots=True)
class Simple:
    """`schema`: with `$defs`. `dropped`: keywords that are not kept in full, in order."""

    schema: Schema
    dropped: list[str] = field(default_factory=list)


def simplify(schema: object) -> Simple:
    """Raises ConstraintRejected for a schema that is malformed, unsatisfiable or too large."""
    simplifier = _Simplifier(schema)
    simple = simplifier.all_of([schema])
    if simple is None:
        raise ConstraintRejected("the JSON schema is unsatisfiable: no value obeys all that it says")
    if simplifier.definitions:
        simple = {**simple, "$defs": simplifier.definitions}
    return Simple(simple, list(simplifier.dropped))


class _Simplifier:
    def __init__(self, root: object) -> None:
        self._references = References(root)
        self._names: dict[tuple[frozenset[int], ChosenAlternatives], str] = {}
        self._impossible: set[str] = set()
        self._places = self._merged = 0
        self._pieces = TypeSimplifier(self.all_of, self._inline, self._drop)
        self.definitions: dict[str, Schema] = {}
        self.dropped: dict[str, None] = {}

    def _inline(self, simple: Schema) -> Schema:
        name = str(simple.get("$ref", "")).removeprefix(REFERENCE)
        return self.definitions.get(name, simple)

    def _drop(self, keyword: str) -> None:
        self.dropped[keyword] = None

    def all_of(self, parts: Sequence[object], choices: ChosenAlternatives = _NO_CHOICES) -> Schema | None:
        """One simple schema for all schemas that hold for a value; None if no value satisfies them.

        `choices`: the alternatives chosen for this value, whose schemas are among the parts.
        """
        self._places += 1
        if self._places > MAX_PLACES:
            raise ConstraintRejected(
                f"the JSON schema is too large: more than {MAX_PLACES} places and combinations of "
                "alternatives"
            )
        flat, refers = self._flat(parts)
        if flat is None:
            return None
        schemas = [schema for schema in flat if _adds_constraints(schema, choices)]
        if not refers:
            return self._one(schemas, choices)
        if not schemas and has_cycle({id(schema): self._targets(schema) for schema in flat}):
            refuse("a `$ref` leads back to itself, and nothing else says what the value is")
        key = frozenset(map(id, schemas)), choices
        if key not in self._names:
            name = self._names[key] = f"d{len(self._names)}"
            simple = self._one(schemas, choices)
            if simple is None:
                self._impossible.add(name)
            else:
                self.definitions[name] = simple
        name = self._names[key]
        return None if name in self._impossible else {"$ref": f"{REFERENCE}{name}"}

    def _flat(self, parts: Sequence[object]) -> tuple[list[Schema] | None, bool]:
        """The parts with everything that they refer to or include by `allOf`, and whether there is a
        reference.

        None instead of the list if a part is `false`.
        """
        waiting, flat, refers = list(reversed(parts)), dict[int, Schema](), False
        while waiting:
            part = waiting.pop()
            if part is False:
                return None, refers
            if part is True or id(part) in flat:
                continue
            if not isinstance(part, dict):
                refuse(f"a schema must be an object or a boolean, not {shown(part)}")
            flat[id(part)] = part
            targets = self._references.targets(part)
            refers = refers or bool(targets)
            waiting += reversed([*targets, *listed("allOf", part.get("allOf", []))])
        self._merged += len(flat)
        if self._merged > _MAX_MERGED:
            raise ConstraintRejected(
                f"the JSON schema is too large: more than {_MAX_MERGED} schemas would have to be merged; "
                "give `allOf` and `anyOf` fewer members"
            )
        return list(flat.values()), refers

    def _targets(self, schema: Schema) -> list[int]:
        targets = [*self._references.targets(schema), *listed("allOf", schema.get("allOf", []))]
        return [id(target) for target in targets if isinstance(target, dict)]

    def _one(self, schemas: list[Schema], choices: ChosenAlternatives) -> Schema | None:
        for schema in schemas:
            for keyword in GROUPS:
                if keyword in schema and not choices.has(schema, keyword):
                    return self._any_of(schemas, choices, schema, keyword)
        for schema in schemas:
            for keyword in schema:
                if is_reported(keyword) and not _has_no_effect(keyword, schema[keyword]):
                    self._drop(keyword)
        return self._pieces.of(MergedSchema(schemas))

    def _any_of(
        self, schemas: list[Schema], choices: ChosenAlternatives, schema: Schema, keyword: str
    ) -> Schema | None:
        """The alternatives, each merged with all other schemas. `oneOf` may overlap, as in
        Ollama's grammar.
        """
        options: list[Schema | None] = []
        for branch in listed(keyword, schema[keyword]):
            reached, _ = self._flat([branch])
            with_branch = choices.and_also(schema, keyword, reached or ())
            if with_branch is not None:
                options.append(self.all_of([*schemas, branch], with_branch))
        return any_of([option for option in options if option is not None])


def any_of(options: Sequence[Schema]) -> Schema | None:
    """One schema that allows what any option allows, without duplicates; None without options."""
    # Keyed by their text: in Python 1 and True are equal.
    different: dict[str, Schema] = {}
    for option in options:
        alternatives = option.get("anyOf")
        for each in alternatives if isinstance(alternatives, list) else [option]:
            if each == {}:
                return {}
            different.setdefault(json.dumps(each, default=repr), each)
    flat = list(different.values())
    if not flat:
        return None
    return flat[0] if len(flat) == 1 else {"anyOf": flat}


def _adds_constraints(schema: Schema, choices: ChosenAlternatives) -> bool:
    return any(
        constrains(keyword) and keyword not in _FOLLOWED and not choices.has(schema, keyword)
        for keyword in schema
    )


def _has_no_effect(keyword: str, value: object) -> bool:
    return keyword == "uniqueItems" and value is False
