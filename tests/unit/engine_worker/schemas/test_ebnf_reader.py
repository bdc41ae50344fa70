"""A client's EBNF, read as a grammar: what is written for the engines, and what is refused."""

from __future__ import annotations

import time

import pytest

from drover.errors import ConstraintRejected
from engine_worker.schemas.constraint import from_ebnf, from_regex
from engine_worker.schemas.ebnf_writer import ebnf_text
from engine_worker.schemas.gbnf_writer import gbnf_text
from engine_worker.schemas.lark_writer import lark_text

_RECURSIVE = 'root ::= "(" root ")" | "x"'


@pytest.mark.parametrize(
    ("source", "written"),
    [
        ('root ::= "yes" | "no"', 't0\nt0 ::= "yes" | "no"'),
        ('answer::="a"# a comment\nroot ::= answer{2,3}\n', 't0\nt0 ::= "a"{2,3}'),
        ("root ::= [a-c]+ . [^\\n]?", None),
        ('root ::= ("a" |\n "b")* "c"', 't0\nt0 ::= (("a" | "b")*) "c"'),
        ('root ::= "\\x41\\u00e9\\U0001f600\\t\\""', None),
        ('root ::= ""', '""'),
        ('root ::= ("a"? "b"?)*', '("") | t0\nt0 ::= (("a" ("b"?)) | "b")+'),
        ('root ::= ("a"+)*', '("") | t0\nt0 ::= "a"+'),
        ('root ::= a b\na ::= "x"{0,2}\nb ::= "y"', 't0\nt0 ::= ("x"{0,2}) "y"'),
    ],
)
def test_a_grammar_without_recursion_is_one_terminal(source: str, written: str | None) -> None:
    grammar = from_ebnf(source).grammar

    assert list(grammar.rules) == ["root"]
    assert lark_text(grammar)
    assert gbnf_text(grammar)
    if written is not None:
        assert ebnf_text(grammar) == f"root ::= {written}\n"


def test_a_recursive_grammar_keeps_its_rules_and_every_character_is_a_token() -> None:
    grammar = from_ebnf(_RECURSIVE).grammar

    assert ebnf_text(grammar) == 'root ::= ("(" root ")") | "x"\n'
    # A lexer would take the longest of several tokens, which may not be what the rules need.
    assert lark_text(from_ebnf('root ::= "ab" root | "a"').grammar).endswith('("a") ("b") start) | ("a")\n')


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("root ::= ???", r"line 1, before '\?\?\?': a text, a class, a group or the name of a rule"),
        ("nonsense", "a rule, like `root ::= …`, is expected"),
        ("", "there is no rule `root`"),
        ('a ::= "x"', "there is no rule `root`"),
        ("root ::= missing", "the rule 'missing' is not defined"),
        ('root ::= "a"\nroot ::= "b"', "the rule 'root' is defined twice"),
        ('root ::= "a', "a text without its closing quote"),
        ('root ::= "a\n"', "a text without its closing quote"),
        ("root ::= [a-", r"a \[ without its \]"),
        ("root ::= [z-a]", "a range from back to front"),
        ('root ::= ("a"', r"a \( without its \)"),
        ('root ::= "a")', r"a \) without its \("),
        ('root ::= ("a"\nb ::= "c"', r"a \( without its \)"),
        ('root ::= "a"{3,2}', "a repetition from 3 to 2"),
        ('root ::= "a"{,}', "a count, like"),
        ('root ::= "\\q"', r"the escape \\q is not known"),
        ('root ::= "\\ud800"', "an escape of no character"),
        ('root ::= (="a") "a"', "lookahead is not supported"),
        ('root ::= "a" root', "no text of finite length matches the rule 'root'"),
        ('root ::= root "a" | "b"', "the rule 'root' begins with itself"),
        ('root ::= a\na ::= "x"? b | "y"\nb ::= a "z"', "begins with itself"),
        ('root ::= ("x" root | a?)*\na ::= "y"', "may all be empty"),
        ("root ::= []", "no text"),
        ('start: "a" | missing', "Lark: a grammar cannot have"),
        ('other: "a"', "Lark: a grammar cannot have"),
        ("root ::= " + "(" * 60 + '"a"' + ")" * 60, "more than 50 groups"),
    ],
)
def test_refused_grammars(source: str, words: str) -> None:
    with pytest.raises(ConstraintRejected, match=words):
        from_ebnf(source)


@pytest.mark.parametrize(
    "source",
    [
        "\n".join(
            [*(f"r{number} ::= r{number + 1}" for number in range(1990)), 'r1990 ::= "x"', "root ::= r0"]
        ),
        "\n".join([*(f'r{n} ::= r{n + 1} r{n + 1} | "x"' for n in range(60)), 'r60 ::= "y"', "root ::= r0"]),
        "root ::= (" + " ".join(['"a"?'] * 150) + ")*",
        "root ::= " + "(" * 40 + '"a"' + "?)*" * 40,
    ],
    ids=["a chain of rules", "rules that double", "many optional parts", "nested loops"],
)
def test_large_grammars_take_little_time(source: str) -> None:
    began = time.process_time()
    from_ebnf(source)
    assert time.process_time() - began < 2


def test_too_many_rules_and_parts_are_refused() -> None:
    with pytest.raises(ConstraintRejected, match="2001 rules are too many"):
        from_ebnf("\n".join(['root ::= "a"', *(f'r{number} ::= "a"' for number in range(2000))]))
    with pytest.raises(ConstraintRejected, match="a sequence of 201 parts that may all be empty"):
        from_ebnf("root ::= (" + " ".join(['"a"?'] * 201) + ")*")


def test_an_empty_answer_is_no_token_of_a_regular_expression() -> None:
    assert lark_text(from_regex("a*").grammar) == '%llguidance {}\nstart: ("") | T0\nT0: /a+/\n'


@pytest.mark.parametrize("source", ['start: "a" | "b"', 'start: word\nword: "a" | LETTER\nLETTER: /b/\n'])
def test_lark_is_read_too(source: str) -> None:
    assert ebnf_text(from_ebnf(source).grammar) == 'root ::= t0\nt0 ::= "a" | "b"\n'
