"""Answers that /completion makes under a grammar of ours and our parsers read: forced calls, and formats."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from drover.errors import CapabilityMissing
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_grammar import Thought
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.output.base import OutputParser, PlainText
from engine_worker.output.call_markup import BARE_LIST, NO_TAG_FOR_FORMAT, CallMarkup
from engine_worker.output.json_calls import JsonCalls
from engine_worker.output.reasoning import ThinkingFirst
from engine_worker.output.tagged_reasoning import TaggedThinking
from engine_worker.output.tool_calls import ToolCalls, is_forced, may_call_several
from engine_worker.schemas.constraint import Constraint
from engine_worker.schemas.functions import Function, calls_grammar

# Calls in text that begin without a tag: the answer is one, or it has none.
_NO_TAG = CallMarkup("", "", "")


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """`grammar`: in llama-server's words; empty for free text."""

    grammar: str
    parser: OutputParser


def own_answer(
    request: pb.GenerateRequest,
    template: ChatTemplate,
    functions: Sequence[Function],
    constraint: Constraint | None,
    may_think: bool,
    begun: pb.Message | None,
) -> OwnAnswer:
    """`functions`: those that may be called. A forced call is all of the answer; otherwise it is a call or
    what `constraint` asks for, and without that free text.

    Raises CapabilityMissing where calls look like a format's JSON, ConstraintRejected for what is
    too large.
    """
    forced = bool(functions) and is_forced(request.tool_choice)
    answer = None if forced or constraint is None else constraint.grammar
    thought = _thought(template, begun) if may_think else None
    parser: OutputParser = PlainText()
    grammar = answer
    if functions:
        is_free = answer is None and not forced
        markup = _NO_TAG if is_free and template.call_markup is None else _markup(template, forced)
        names = {function.name for function in functions}
        calls = JsonCalls(markup.tag, markup.closing, names, only_calls=forced, certain=not is_free)
        parser = ToolCalls(calls)
        if not is_free:
            grammar = calls_grammar(functions, markup, may_call_several(request.tool_choice), answer)
    if thought is not None:
        tags = TaggedThinking(thought.opening, thought.closing, thought.opened)
        parser = ThinkingFirst(tags, parser, shown=request.think.mode != pb.Think.OFF)
    return OwnAnswer("" if grammar is None else template.syntax.written(grammar, thought), parser)


def _markup(template: ChatTemplate, forced: bool) -> CallMarkup:
    if template.call_markup is not None:
        return template.call_markup
    if forced:
        return BARE_LIST
    raise CapabilityMissing(NO_TAG_FOR_FORMAT)


def _thought(template: ChatTemplate, begun: pb.Message | None) -> Thought | None:
    """None where the thinking is over already, or its markup is not known."""
    opening, closing = template.before_thinking.strip(), template.after_thinking.strip()
    if not closing or (begun is not None and begun.content):
        return None
    opened = template.opens_thinking or (begun is not None and bool(begun.thinking))
    return Thought(opening, closing, opened) if opened or opening else None
