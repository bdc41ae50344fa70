"""Alternatives of `anyOf` and `oneOf` chosen for one value, and detection of cycles among them.

In `{"anyOf": [{"type": "integer"}, {"$ref": "#"}]}` the second alternative allows nothing that the first does
not: choosing it leads back to the same choice, so it is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

GROUPS = ("anyOf", "oneOf")
Schema = dict[str, object]


@dataclass(frozen=True, slots=True)
class ChosenAlternative:
    """One member of a group. `leads_to`: ids of schemas with alternatives that it includes by `$ref` or
    `allOf`.
    """

    schema: int
    keyword: str
    leads_to: frozenset[int]


@dataclass(frozen=True, slots=True)
class ChosenAlternatives:
    """The alternatives chosen so far for one value."""

    made: frozenset[ChosenAlternative] = frozenset()

    def has(self, schema: Schema, keyword: str) -> bool:
        return any(choice.schema == id(schema) and choice.keyword == keyword for choice in self.made)

    def and_also(self, schema: Schema, keyword: str, reached: Iterable[Schema]) -> ChosenAlternatives | None:
        """These and one more. `reached`: the schemas that the alternative consists of.

        None if the alternative leads back to its own choice.
        """
        leads_to = frozenset(id(each) for each in reached if any(group in each for group in GROUPS))
        choice = ChosenAlternative(id(schema), keyword, leads_to)
        if leads_to and choice.schema in self._all_from(leads_to):
            return None
        return ChosenAlternatives(self.made | {choice})

    def _all_from(self, schemas: Iterable[int]) -> set[int]:
        found, waiting = set[int](), list(schemas)
        while waiting:
            schema = waiting.pop()
            if schema not in found:
                found.add(schema)
                waiting += [to for choice in self.made if choice.schema == schema for to in choice.leads_to]
        return found


def has_cycle(edges: Mapping[int, Collection[int]]) -> bool:
    """Whether the directed graph has a cycle."""
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
