"""Calls under a grammar of ours: forced ones, and those that may come instead of a format's JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from drover.errors import CapabilityMissing
from drover.v1 import engine_pb2 as pb
from engine_worker.output.base import OutputParser
from engine_worker.output.call_markup import BARE_LIST, NO_TAG_FOR_FORMAT, CallMarkup
from engine_worker.output.json_calls import JsonCalls
from engine_worker.output.tool_calls import ToolCalls
from engine_worker.output.tool_choice import chosen_tools, is_forced, may_call_several
from engine_worker.schemas.constraint import Constraint, named_of_tools
from engine_worker.schemas.ebnf import ebnf_text
from engine_worker.schemas.functions import calls_grammar, functions_of


@dataclass(frozen=True, slots=True)
class OwnCalls:
    """`grammar`: EBNF. `is_forced`: the answer is nothing but calls."""

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


async def own_calls(
    request: pb.GenerateRequest, constraint: Constraint | None, markup: CallMarkup | None, can_make: bool
) -> OwnCalls | None:
    """None where no call is forced and no format comes with tools, and where SGLang's own grammar must do
    (`can_make` False).

    Raises CapabilityMissing where a call looks like the format's JSON, InvalidRequest for a choice that
    no tool is there for, ConstraintRejected for tools that are too large.
    """
    tools, forced = chosen_tools(request.chat.tools, request.tool_choice), is_forced(request.tool_choice)
    if not tools or (constraint is None and not forced) or (forced and not can_make):
        return None
    around = markup or (BARE_LIST if forced else None)
    if around is None or not can_make:
        raise CapabilityMissing(NO_TAG_FOR_FORMAT)
    answer = None if forced or constraint is None else constraint.grammar

    def written() -> tuple[str, list[str]]:
        several = may_call_several(request.tool_choice)
        functions = functions_of(tools)
        named = named_of_tools(function.arguments for function in functions)
        return ebnf_text(calls_grammar(functions, around, several, answer)), named

    grammar, named = await asyncio.to_thread(written)
    return OwnCalls(grammar, around, frozenset(tool.name for tool in tools), forced, named)
