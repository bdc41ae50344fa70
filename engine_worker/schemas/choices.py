"""Alternatives that have been chosen at one place of a schema, and whether one leads back to itself.

`{"anyOf": [{"type": "integer"}, {"$ref": "#"}]}` says that a value is an integer, or what the schema says it
is: the second alternative admits nothing that another one does not.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

GROUPS = ("anyOf", "oneOf")
Schema = dict[str, object]


@dataclass(frozen=True, slots=True)
class Choice:
    """`leads_to`: ids of the schemas with alternatives that hold too, by `$ref` and `allOf`."""

    schema: int
    keyword: str
    leads_to: frozenset[int]


@dataclass(frozen=True, slots=True)
class Choices:
    made: frozenset[Choice] = frozenset()

    def has(self, schema: Schema, keyword: str) -> bool:
        return any(choice.schema == id(schema) and choice.keyword == keyword for choice in self.made)

    def and_also(self, schema: Schema, keyword: str, reached: Iterable[Schema]) -> Choices | None:
        """`reached`: what the alternative consists of. None where it only holds if it is chosen itself."""
        leads_to = frozenset(id(each) for each in reached if any(group in each for group in GROUPS))
        choice = Choice(id(schema), keyword, leads_to)
        if leads_to and choice.schema in self._all_from(leads_to):
            return None
        return Choices(self.made | {choice})

    def _all_from(self, schemas: Iterable[int]) -> set[int]:
        found, waiting = set[int](), list(schemas)
        while waiting:
            schema = waiting.pop()
            if schema not in found:
                found.add(schema)
                waiting += [to for choice in self.made if choice.schema == schema for to in choice.leads_to]
        return found


def has_cycle(edges: Mapping[int, Collection[int]]) -> bool:
    """Whether references lead back to where they came from."""
    incoming = dict.fromkeys(edges, 0)
    for targets in edges.values():
        for target in targets:
            incoming[target] += 1
    waiting = [schema for schema, number in incoming.items() if not number]
    ordered = 0
    while waiting:
        ordered += 1
        for target in edges[waiting.pop()]:
            incoming[target] -= 1
            if not incoming[target]:
                waiting.append(target)
    return ordered < len(edges)
