"""The grammar of a custom tool's call: its argument `input` is a text that a client's grammar describes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Several

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.schemas.constraint import MAX_POSITIONS, Constraint, from_parsed
from engine_worker.schemas.cost_limits import cost_of
from engine_worker.schemas.grammar_recursion import check_recursion
from engine_worker.schemas.json_text import written
from engine_worker.schemas.lark_reader import read_lark
from engine_worker.schemas.patterns import Unsupported, read_whole
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import (
    Chars,
    Choice,
    Range,
    Ref,
    Repeat,
    Sequence,
    Term,
    Terminal,
    choice,
    literal_of,
    renamed,
    repeat,
    sequence,
    text,
)

# As in Started.not_honoured, where the grammar is only described in the prompt.
NOT_ENFORCED = "tools.format"
# Leaves room for the request's other tools.
_MAX_COST = MAX_POSITIONS // 2
_INPUT = "input"
_BEGINNING, _END = f'{{"{_INPUT}": "', '"}'


def not_enforced(tools: Iterable[pb.Tool]) -> list[str]:
    """What is not honoured of these tools where calls have no grammar of Drover's."""
    return [NOT_ENFORCED] if any(tool.input_grammar for tool in tools) else []


def of_custom_tool(tool: pb.Tool, schema: object) -> Constraint:
    """The constraint of the arguments. `schema`: the tool's parameters.

    A grammar that cannot be enforced is named in `not_honoured`. Raises ConstraintRejected for the schema.
    """
    plain = from_parsed(schema)
    try:
        grammar = _in_json(_input_grammar(tool))
        if cost_of(grammar.rules) > _MAX_COST:
            raise Unsupported("so many positions")
    except (Unsupported, ConstraintRejected, RecursionError):
        return Constraint(plain.grammar, plain.schema, (*plain.not_honoured, NOT_ENFORCED))
    return Constraint(grammar, plain.schema, plain.not_honoured)


def _input_grammar(tool: pb.Tool) -> Grammar:
    """Raises Unsupported."""
    match tool.input_syntax:
        case "lark":
            return read_lark(tool.input_grammar)
        case "regex":
            return Grammar({ROOT: Terminal(read_whole(tool.input_grammar, may_be_anchored=True))})
        case other:
            raise Unsupported(f"the syntax {other}")


def _in_json(grammar: Grammar) -> Grammar:
    """The grammar of the arguments: each character of the input is written as in a JSON string."""
    names: Mapping[str, str] = {ROOT: _INPUT}
    rules = {names.get(name, name): renamed(_escaped(term), names) for name, term in grammar.rules.items()}
    whole = sequence(Terminal(text(_BEGINNING)), Ref(_INPUT), Terminal(text(_END)))
    inside = Grammar({ROOT: whole, **rules})
    check_recursion(inside)
    return inside


def _escaped(term: Term) -> Term:
    """The term with JSON's escapes, each a terminal of its own: a lexer that takes the longest match would
    read the backslash of a line's end as the beginning of another escape in the line.
    """
    match term:
        case Ref():
            return term
        case Terminal(part):
            in_json = written(part)
            return Terminal(in_json) if not _has_escape(in_json) or literal_of(part) else _escaped(part)
        case Sequence(parts):
            return sequence(*map(_escaped, parts))
        case Choice(options) if all(isinstance(option, Chars) for option in options):
            return _escaped(Chars.of(each for option in options for each in _ranges(option)))
        case Choice(options):
            return choice(*map(_escaped, options))
        case Repeat(Chars() as chars, least, None) if least < 2:
            raw, escape = _raw_and_escape(chars)
            return repeat(choice(*(Terminal(repeat(each, 1)) for each in raw), *escape), least)
        case Repeat(part, least, most):
            return repeat(_escaped(part), least, most)
        case Chars():
            raw, escape = _raw_and_escape(term)
            return choice(*map(Terminal, raw), *escape)


def _ranges(term: Term) -> Several[Range]:
    return term.ranges if isinstance(term, Chars) else ()


def _raw_and_escape(chars: Chars) -> tuple[list[Term], list[Term]]:
    """How a character is written: as it is, and with a backslash."""
    in_json = written(chars)
    options = in_json.options if isinstance(in_json, Choice) else (in_json,)
    raw = [option for option in options if isinstance(option, Chars)]
    return [*raw], [Terminal(option) for option in options if not isinstance(option, Chars)]


def _has_escape(term: Term) -> bool:
    match term:
        case Chars():
            return ord("\\") in term
        case Sequence(parts) | Choice(parts):
            return any(map(_has_escape, parts))
        case Repeat(part) | Terminal(part):
            return _has_escape(part)
        case Ref():
            return False
