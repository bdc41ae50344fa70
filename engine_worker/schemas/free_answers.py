"""Answers that are free text, calls, or calls after text, where only the calls obey a grammar."""

from __future__ import annotations

from collections.abc import Sequence as Several

from drover.errors import ConstraintRejected
from engine_worker.schemas.call_grammar import Function, Markup, calls_grammar
from engine_worker.schemas.custom_input import NOT_ENFORCED
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import Chars, Ref, Term, Terminal, choice, optional, repeat, sequence, text

FREE_TEXT, CALLS = "free_text", "calls_after_tag"


def rules_of_inputs(
    functions: Several[Function], markup: Markup | None, tag: str, several: bool
) -> Grammar | None:
    """Rules for text without the tag (FREE_TEXT, not empty) and for what follows the first tag (CALLS), if a
    custom tool has a grammar of its own. `tag`: what calls begin with, in the `markup` around them.

    None where no grammar can be enforced in such answers, or where it would be too large.
    """
    has_grammar = any(
        each.tool.input_grammar and NOT_ENFORCED not in each.arguments.not_honoured for each in functions
    )
    # The expression of free text is simple where the tag's first character does not come again in it.
    if not has_grammar or markup is None or not tag or tag[0] in tag[1:]:
        return None
    after_tag = Markup(markup.before.removeprefix(tag), markup.between, markup.after)
    try:
        calls = calls_grammar(functions, after_tag, several)
    except ConstraintRejected:
        return None
    rules = {CALLS if name == ROOT else name: term for name, term in calls.rules.items()}
    return Grammar({ROOT: Ref(CALLS), FREE_TEXT: Terminal(text_without(tag)), **rules})


def free_or_calls(inputs: Grammar, tag: str) -> Grammar:
    """The whole answer, for grammars without a lexer."""
    calls = sequence(Terminal(text(tag)), Ref(CALLS))
    return Grammar({**inputs.rules, ROOT: sequence(optional(Ref(FREE_TEXT)), optional(calls))})


def text_without(tag: str) -> Term:
    """Any text, but not the empty one, without `tag`. The tag's first character occurs in it once."""
    first = Chars.text(tag[0])
    others = first.complement()
    beginnings = [
        sequence(text(tag[1:end]), optional(sequence(others.minus(Chars.text(tag[end])), repeat(others))))
        for end in range(1, len(tag))
    ]
    if not beginnings:
        return repeat(others, 1)
    partial = sequence(first, choice(*beginnings))
    return choice(sequence(repeat(others, 1), repeat(partial)), repeat(partial, 1))
