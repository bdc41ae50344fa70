"""What forces a call, with the functions' schemas read as those of answers are: kept, bounded in cost, named.

SGLang's layer writes it for each model's format, with schemas as the client sent them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from engine_worker.schemas.constraint import (
    Constraint,
    check_total,
    from_parsed,
    json_of,
    named_of_tools,
    plain_json,
)
from engine_worker.schemas.ebnf import ebnf_text
from engine_worker.schemas.reading import read_schema


@dataclass(slots=True)
class ForcedCall:
    """SGLang's parameters. `not_honoured`: as in Started."""

    parameters: dict[str, object]
    not_honoured: list[str] = field(default_factory=list)


def forced_call(kind: str, value: str, takes_grammars: bool) -> ForcedCall:
    """Blocks where schemas are large. Raises ConstraintRejected."""
    if kind == "full_assistant_ebnf":
        return ForcedCall({"ebnf": value, "ebnf_full_assistant": True})
    read = _Schemas(takes_grammars)
    if kind == "json_schema":
        constraint = read.constraint(read_schema(value))
        if takes_grammars:
            return ForcedCall({"ebnf": ebnf_text(constraint.grammar)}, read.not_honoured)
        assert constraint.schema is not None
        return ForcedCall({kind: json_of(constraint.schema)}, read.not_honoured)
    if kind == "structural_tag":
        tag = read.rewritten(read_schema(value))
        return ForcedCall({kind: json.dumps(plain_json(tag), ensure_ascii=False)}, read.not_honoured)
    return ForcedCall({kind: value})


class _Schemas:
    def __init__(self, takes_grammars: bool) -> None:
        self._takes_grammars = takes_grammars
        self._read: list[Constraint] = []

    @property
    def not_honoured(self) -> list[str]:
        return named_of_tools(self._read)

    def constraint(self, schema: object) -> Constraint:
        constraint = from_parsed(schema)
        self._read.append(constraint)
        check_total([each.grammar for each in self._read], "grammar of the tools")
        return constraint

    def rewritten(self, part: object) -> object:
        """Parts that are schemas as grammars of ours; as simple schemas where the format is not JSON."""
        if isinstance(part, list):
            return [self.rewritten(each) for each in part]
        if not isinstance(part, dict):
            return part
        schema = part.get("json_schema")
        if part.get("type") == "json_schema" and isinstance(schema, dict) and self._takes_grammars:
            return {"type": "grammar", "grammar": ebnf_text(self.constraint(schema).grammar)}
        result: dict[str, object] = {}
        for name, value in part.items():
            is_schema = name in ("json_schema", "schema") and isinstance(value, dict)
            result[name] = plain_json(self.constraint(value).schema) if is_schema else self.rewritten(value)
        return result
