"""The functions that a template may call: Go's own and Ollama's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

from drover.go_template.comparison import equal, less
from drover.go_template.containers import index, length, slice_of
from drover.go_template.errors import Budget, FunctionFailed
from drover.go_template.escapes import html, js, urlquery
from drover.go_template.json_text import json_text
from drover.go_template.printf import printf
from drover.go_template.typescript import typescript_type
from drover.go_template.values import NO_VALUE, Value, is_true, plain, text_of, type_name

Arguments = list[Value]


@dataclass(frozen=True, slots=True)
class Function:
    """A function and its number of arguments. `most` None: unbounded."""

    call: Callable[[Arguments, Budget], Value]
    fewest: int = 0
    most: int | None = None


# Evaluated by the interpreter, since they short-circuit.
LAZY = frozenset(("and", "or"))


def _print(arguments: Arguments, budget: Budget) -> str:
    """Go's print: a space between two adjacent values of which neither is a string."""
    parts: list[str] = []
    for at, argument in enumerate(arguments):
        if at and not isinstance(argument, str) and not isinstance(arguments[at - 1], str):
            parts.append(" ")
        parts.append(text_of(argument))
    return _joined(parts, "", budget)


def _println(arguments: Arguments, budget: Budget) -> str:
    return _joined([text_of(each) for each in arguments], " ", budget) + "\n"


def _joined(parts: list[str], between: str, budget: Budget) -> str:
    budget.characters(sum(len(part) + len(between) for part in parts))
    return between.join(parts)


def _printf(arguments: Arguments, budget: Budget) -> str:
    template, *others = arguments
    if not isinstance(template, str):
        raise FunctionFailed(f"wrong type for value; expected string; got {type_name(template)}")
    text = printf(template, others, budget)
    budget.characters(len(text))
    return text


def _escaped(escape: Callable[[str], str]) -> Callable[[Arguments, Budget], Value]:
    def call(arguments: Arguments, budget: Budget) -> str:
        text = escape(_print([NO_VALUE if each is None else each for each in arguments], budget))
        budget.characters(len(text))
        return text

    return call


def _json(arguments: Arguments, budget: Budget) -> str:
    text = json_text(plain(arguments[0]))
    budget.characters(len(text))
    return text


def _call(arguments: Arguments, budget: Budget) -> Value:
    if arguments[0] is None:
        raise FunctionFailed("call of nil")
    raise FunctionFailed(f"non-function of type {type_name(arguments[0])}")


def _today(days_ago: int) -> Callable[[Arguments, Budget], Value]:
    return lambda arguments, budget: (date.today() - timedelta(days=days_ago)).isoformat()


def _less_or_equal(arguments: Arguments, budget: Budget) -> bool:
    return less(arguments, budget) or equal(arguments, budget)


FUNCTIONS = {
    "call": Function(_call, 1),
    "currentDate": Function(_today(0)),
    "eq": Function(equal, 1),
    "ge": Function(lambda arguments, budget: not less(arguments, budget), 2, 2),
    "gt": Function(lambda arguments, budget: not _less_or_equal(arguments, budget), 2, 2),
    "html": Function(_escaped(html)),
    "index": Function(lambda arguments, budget: index(arguments[0], arguments[1:], budget), 1),
    "js": Function(_escaped(js)),
    "json": Function(_json, 1, 1),
    "le": Function(_less_or_equal, 2, 2),
    "len": Function(lambda arguments, budget: length(arguments[0], budget), 1, 1),
    "lt": Function(less, 2, 2),
    "ne": Function(lambda arguments, budget: not equal(arguments, budget), 2, 2),
    "not": Function(lambda arguments, budget: not is_true(arguments[0]), 1, 1),
    "print": Function(_print),
    "printf": Function(_printf, 1),
    "println": Function(_println),
    "slice": Function(lambda arguments, budget: slice_of(arguments[0], arguments[1:], budget), 1),
    "toTypeScriptType": Function(lambda arguments, budget: typescript_type(arguments[0]), 1, 1),
    "urlquery": Function(_escaped(urlquery)),
    "yesterdayDate": Function(_today(1)),
}
NAMES = LAZY | FUNCTIONS.keys()
# Ollama's additions.
OLLAMAS = frozenset(("currentDate", "json", "toTypeScriptType", "yesterdayDate"))
