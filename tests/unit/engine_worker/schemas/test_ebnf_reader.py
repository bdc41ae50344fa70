"""A client's EBNF, read as a grammar: what is written for the engines, and what is refused."""

from __future__ import annotations

import pytest
from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_grammar import ThinkingMarkup, answer_lark
from engine_worker.engines.llamacpp.grammar_compiler_process import ByteTokens
from engine_worker.schemas.constraint import constraint_of, from_ebnf, from_regex
from engine_worker.schemas.ebnf_writer import ebnf_text
from engine_worker.schemas.gbnf_writer import gbnf_text
from engine_worker.schemas.lark_writer import lark_text
from tests.support.cpu_time import within_cpu

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


@pytest.mark.parametrize("name", ["Expr", "my-expr", "a.b", "a_b", "start", "body", "T0", "g0", "space"])
def test_a_rule_may_have_any_name(name: str) -> None:
    grammar = from_ebnf(f'root ::= {name} "!"\n{name} ::= "(" {name} ")" | ("ab" {name})* "x"').grammar

    # Names that each language has, and that no writer gives to rules of its own.
    assert set(grammar.rules) == {"root", "rule1"}
    assert gbnf_text(grammar).count("g0 ::=") == 1
    whole = answer_lark(grammar, ThinkingMarkup("<think>", "</think>"), None)
    matcher = LLMatcher(
        LLTokenizer(TokenizerWrapper(ByteTokens())), LLMatcher.grammar_from_lark(whole), log_level=0
    )
    assert matcher.try_consume_tokens(list(b"(ab(x)x)!")) == len(b"(ab(x)x)!")


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
        ('start: "a" | missing', "Lark: malformed or not supported: the rule missing, which is not defined"),
        ('other: "a"', "Lark: malformed or not supported: a grammar without the rule start"),
        ('start: aB\naB: "b"', "Lark: malformed or not supported: the name aB"),
        ('start: "a"\nstart: "b"', "Lark: malformed or not supported: a second definition of start"),
        ('start: "\\ud800"', "Lark: malformed or not supported: half of a surrogate pair"),
        ("start: /a)|(?:b/", r"Lark: in a regular expression, the \) at character 2 has no \("),
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
        "\n".join(
            [
                *(f'r{number} ::= "{"a" * 9}" r{number + 1}' for number in range(1990)),
                'r1990 ::= "x"',
                'root ::= r0 | "(" root ")"',
            ]
        ),
        "\n".join([*(f'r{n} ::= r{n + 1} r{n + 1} | "x"' for n in range(60)), 'r60 ::= "y"', "root ::= r0"]),
        "root ::= (" + " ".join(['"a"?'] * 150) + ")*",
        "root ::= " + "(" * 40 + '"a"' + "?)*" * 40,
    ],
    ids=[
        "a chain of rules",
        "a chain of long rules",
        "rules that double",
        "many optional parts",
        "nested loops",
    ],
)
def test_large_grammars_take_little_time(source: str) -> None:
    with within_cpu(1):
        from_ebnf(source)


@pytest.mark.parametrize(
    "source",
    [
        "root ::= a\n" + "#" * 40 + '\na ::= "x"',
        "root ::= a\n" + "# a \n" * 40 + 'a ::= "x"',
    ],
    ids=["a ruler", "comments that end in spaces"],
)
def test_comments_are_read_once(source: str) -> None:
    with within_cpu(1):
        assert ebnf_text(from_ebnf(source).grammar) == 'root ::= "x"\n'


@pytest.mark.parametrize(
    "source",
    [
        "root ::= " + "[" * 60_000,
        "root ::= " + '"a' + "\\" * 60_001,
        'root ::= "a"{' + " " * 2000,
        "\n" * 60_000,
        "start: /" + "[" * 60_000 + "/",
        'start: "a"~' + "9" * 5000,
    ],
    ids=[
        "brackets",
        "backslashes",
        "spaces in a count",
        "empty lines",
        "brackets in Lark",
        "a long count in Lark",
    ],
)
def test_malformed_grammars_are_refused_quickly(source: str) -> None:
    with within_cpu(1), pytest.raises(ConstraintRejected):
        from_ebnf(source)


def test_too_many_rules_and_parts_are_refused() -> None:
    with pytest.raises(ConstraintRejected, match="2001 rules are too many"):
        from_ebnf("\n".join(['root ::= "a"', *(f'r{number} ::= "a"' for number in range(2000))]))
    with pytest.raises(ConstraintRejected, match="a sequence of 201 parts that may all be empty"):
        from_ebnf("root ::= (" + " ".join(['"a"?'] * 201) + ")*")


def test_loops_within_loops_are_refused_before_they_are_written_out() -> None:
    loop = "(" + "a?" * 100 + ")*"
    for pattern in (loop * 150, "(" + loop * 150 + ")*"):
        with within_cpu(2), pytest.raises(ConstraintRejected, match="a repetition of parts that may all be"):
            from_regex(pattern)


@pytest.mark.parametrize("pattern", ["^[ab]+$", "^[ab]+", r"\A[ab]+\Z", "[ab]+"])
def test_anchors_at_the_ends_of_a_regex_add_nothing(pattern: str) -> None:
    assert from_regex(pattern).grammar == from_regex("[ab]+").grammar
    assert from_regex(f"c|{pattern}").grammar == from_regex("c|[ab]+").grammar


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("[0-9", r"regex: the \[ at character 1 has no \]"),
        ("a)|(?:b", r"regex: the \) at character 2 has no \("),
        ("a(b", r"regex: the \( at character 2 has no \)"),
        ("a\\", r"regex: the \\ at its end escapes nothing"),
        ("[]", "regex: no text matches it"),
        ("(?=a)b", "regex: not supported: look-around or a flag"),
        ("a(b$)", r"regex: not supported: a \$ in its middle or in a group"),
    ],
)
def test_the_error_of_a_regex_names_what_is_wrong_with_it(pattern: str, words: str) -> None:
    with pytest.raises(ConstraintRejected, match=words):
        from_regex(pattern)


async def test_rules_nested_too_deep_are_refused() -> None:
    rules = ["root ::= r0", *(f'r{n} ::= "a" | "b" r{n + 1}' for n in range(600)), 'r600 ::= "c"']
    with pytest.raises(ConstraintRejected, match="nested too deep"):
        await constraint_of(pb.GenerateRequest(ebnf="\n".join(rules)), ebnf_text)


def test_an_empty_answer_is_no_token_of_a_regular_expression() -> None:
    assert lark_text(from_regex("a*").grammar) == '%llguidance {}\nstart: ("") | T0\nT0: /a+/\n'


def test_a_text_of_lark_may_look_like_a_rule_of_ebnf() -> None:
    assert ebnf_text(from_ebnf('start: word "::=" # a ::= b\nword: "a"').grammar) == 'root ::= "a::="\n'


@pytest.mark.parametrize("source", ['start: "a" | "b"', 'start: word\nword: "a" | LETTER\nLETTER: /b/\n'])
def test_lark_is_read_too(source: str) -> None:
    assert ebnf_text(from_ebnf(source).grammar) == 'root ::= t0\nt0 ::= "a" | "b"\n'
