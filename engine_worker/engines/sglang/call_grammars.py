"""Grammars that force tool calls, or allow them in place of the JSON of a format."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drover.errors import CapabilityMissing
from drover.v1 import engine_pb2 as pb
from engine_worker.output.base import OutputParser
from engine_worker.output.call_markup import BARE_LIST, NO_TAG_FOR_FORMAT, CallMarkup
from engine_worker.output.json_calls import JsonCalls
from engine_worker.output.tool_calls import ToolCalls, chosen_tools, is_forced, may_call_several
from engine_worker.schemas.call_grammar import calls_grammar, functions_of
from engine_worker.schemas.constraint import (
    Constraint,
    check_total,
    from_parsed,
    json_of,
    named_of_tools,
    plain_json,
)
from engine_worker.schemas.ebnf_writer import ebnf_text
from engine_worker.schemas.free_answers import free_or_calls, rules_of_inputs
from engine_worker.schemas.schema_reader import read_schema


@dataclass(frozen=True, slots=True)
class CallGrammar:
    """A grammar of Drover's (EBNF) in which the model writes tool calls.

    `is_forced` is True if the answer must be nothing but calls.
    """

    grammar: str
    markup: CallMarkup
    names: frozenset[str]
    is_forced: bool
    not_honoured: Sequence[str] = ()

    def parser(self, make_id: Callable[[int], str]) -> OutputParser:
        calls = JsonCalls(
            self.markup.tag, self.markup.closing, self.names, only_calls=self.is_forced, certain=True
        )
        return ToolCalls(calls, make_id=make_id)


async def call_grammar(
    request: pb.GenerateRequest, constraint: Constraint | None, markup: CallMarkup | None, can_make: bool
) -> CallGrammar | None:
    """The grammar for forced calls, for calls that may come in place of a format's JSON, or for calls of
    custom tools that have a grammar.

    None if none of these is asked for, or if calls are forced and SGLang's own grammar must do it (`can_make`
    is False). Raises CapabilityMissing if a call would look like the format's JSON, InvalidRequest for a tool
    choice without a tool, ConstraintRejected for tools that are too large.
    """
    tools, forced = chosen_tools(request.chat.tools, request.tool_choice), is_forced(request.tool_choice)
    if tools and constraint is None and not forced:
        if markup is None or not markup.is_own or not can_make:
            return None
        return await asyncio.to_thread(_of_inputs, request, tools, markup)
    if not tools or (forced and not can_make):
        return None
    around = markup or (BARE_LIST if forced else None)
    if around is None or not can_make:
        raise CapabilityMissing(NO_TAG_FOR_FORMAT)
    answer = None if forced or constraint is None else constraint.grammar

    def write() -> tuple[str, list[str]]:
        several = may_call_several(request.tool_choice)
        functions = functions_of(tools)
        named = named_of_tools(function.arguments for function in functions)
        return ebnf_text(calls_grammar(functions, around, several, answer)), named

    grammar, named = await asyncio.to_thread(write)
    return CallGrammar(grammar, around, frozenset(tool.name for tool in tools), forced, named)


def _of_inputs(
    request: pb.GenerateRequest, tools: Sequence[pb.Tool], markup: CallMarkup
) -> CallGrammar | None:
    """The grammar of free text and of calls, if a custom tool has one of its own that can be enforced."""
    if not any(tool.input_grammar for tool in tools):
        return None
    functions = functions_of(tools)
    inputs = rules_of_inputs(functions, markup, markup.tag, may_call_several(request.tool_choice))
    if inputs is None:
        return None
    named = named_of_tools(function.arguments for function in functions)
    grammar, names = ebnf_text(free_or_calls(inputs, markup.tag)), frozenset(tool.name for tool in tools)
    return CallGrammar(grammar, markup, names, is_forced=False, not_honoured=named)


@dataclass(slots=True)
class ForcedCall:
    """SGLang's parameters that force a call; `not_honoured` as in Started (engine.proto)."""

    parameters: dict[str, object]
    not_honoured: list[str] = field(default_factory=list)


def forced_call(kind: str, value: str, takes_grammars: bool) -> ForcedCall:
    """Rewrite what SGLang's layer writes to force a call in a model's own format (`kind`, `value`).

    That layer copies the functions' schemas as the client sent them. Here they are read as the schemas of
    answers are: simplified, bounded in cost, and with the keywords that are not honoured named. Blocks while
    it reads large schemas. Raises ConstraintRejected.
    """
    if kind == "full_assistant_ebnf":
        return ForcedCall({"ebnf": value, "ebnf_full_assistant": True})
    schemas = _Schemas(takes_grammars)
    if kind == "json_schema":
        constraint = schemas.constraint(read_schema(value))
        if takes_grammars:
            return ForcedCall({"ebnf": ebnf_text(constraint.grammar)}, schemas.not_honoured)
        assert constraint.schema is not None
        return ForcedCall({kind: json_of(constraint.schema)}, schemas.not_honoured)
    if kind == "structural_tag":
        tag = schemas.rewritten(read_schema(value))
        return ForcedCall({kind: json.dumps(plain_json(tag), ensure_ascii=False)}, schemas.not_honoured)
    return ForcedCall({kind: value})


class _Schemas:
    """The schemas of one request's functions, whose total cost is bounded."""

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
        """Replace schemas by grammars of Drover's, or by simplified schemas where the format is not JSON."""
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
