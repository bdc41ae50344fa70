"""Grammars of custom tools: the Lark that clients write, and the calls that it allows."""

from __future__ import annotations

import json

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.schemas.call_grammar import functions_of
from engine_worker.schemas.custom_input import NOT_ENFORCED, not_enforced
from engine_worker.schemas.lark_reader import read_lark
from engine_worker.schemas.patterns import Unsupported
from tests.schemas.llguidance_accepts import accepts
from tests.support.cpu_time import within_cpu

# Codex's grammar of apply_patch.
PATCH = """\
start: begin_patch hunk+ end_patch
begin_patch: "*** Begin Patch" LF
end_patch: "*** End Patch" LF?

hunk: add_hunk | delete_hunk | update_hunk
add_hunk: "*** Add File: " filename LF add_line+
delete_hunk: "*** Delete File: " filename LF
update_hunk: "*** Update File: " filename LF change_move? change?

filename: /(.+)/
add_line: "+" /(.*)/ LF -> line

change_move: "*** Move to: " filename LF
change: (change_context | change_line)+ eof_line?
change_context: ("@@" | "@@ " /(.+)/) LF
change_line: ("+" | "-" | " ") /(.*)/ LF
eof_line: "*** End of File" LF

%import common.LF
"""
GOOD_PATCH = (
    '*** Begin Patch\n*** Add File: a\tb.txt\n+one\n+\n*** Update File: c\n@@ f\n-x\n+"y" \\ é\n*** End Patch'
)


@pytest.mark.parametrize(
    ("definition", "good", "bad"),
    [
        (PATCH, [GOOD_PATCH], ["", "*** Begin Patch\n*** End Patch", GOOD_PATCH + "x"]),
        ("start: /(.|\\n)+/", ["a\nb"], [""]),
        ("start: /[\\s\\S]+/", ["a\nb"], [""]),
        ("start: /.+/s", ["a\nb"], [""]),
        ("start: /.+/", ["a\rb"], ["a\nb"]),
        ('start: "a" | "b"\n  | C\nC: "c"', ["a", "c"], ["d", "ab"]),
        ('start: "ab"i', ["AB", "aB"], ["b"]),
        ('start: ["x"] "a".."c"', ["xb", "b"], ["x", "d"]),
        ('start: "a"~2..3 "b"{2}', ["aabb", "aaabb"], ["abb", "aab"]),
        ('?start: "(" start ")" | INT\n%import common.INT', ["((12))"], ["((12)"]),
        ("start: NUMBER NUMBER\n%import common (NUMBER, WS)\n%ignore WS", ["1 2.5", " 1 2 "], ["1 x"]),
        (
            'start: a* "." // a comment\na: W "," # another\nW: LETTER+\n%import common.LETTER',
            ["ab,c,."],
            ["ab"],
        ),
        ('start: "\\u0041\\n\\""', ['A\n"'], ["A"]),
        ("start: A\nA.2: /a+/", ["aa"], ["b"]),
    ],
)
def test_lark_is_read(definition: str, good: list[str], bad: list[str]) -> None:
    grammar = read_lark(definition)

    assert [text for text in good if not accepts(grammar, text)] == []
    assert [text for text in bad if accepts(grammar, text)] == []


@pytest.mark.parametrize(
    "definition",
    [
        "",
        "rule: /a/",
        "start: other",
        "start: A\nA: B\nB: A",
        "start: /(?=a)a/",
        "start: /a/i",
        'start: start "a" | "a"',
        'start: ("a"?)*',
        'start: "a',
        'start: ("a"',
        "start: /a/ )",
        "%import other.THING\nstart: THING",
        "%declare A\nstart: A",
        'start: "a"~5000000',
        "start: %json {}",
        "start: <special>",
        "(" * 100_000,
        "start: " + "(" * 100 + "A" + ")" * 100 + "\nA: /a/",
        "start: T0\n" + "\n".join(f"T{n}: T{n + 1} T{n + 1}" for n in range(40)) + "\nT40: /a/",
        "start: r0\n" + "\n".join(f"r{n}: r{n + 1}" for n in range(3_000)) + "\nr3000: /a/",
        "start: " + "A " * 1_000 + "\nA: " + " ".join(f'"{n:09}"' for n in range(100)),
    ],
)
def test_what_is_not_read_is_unsupported(definition: str) -> None:
    with pytest.raises(Unsupported):
        read_lark(definition)


def _tool(syntax: str, definition: str) -> pb.Tool:
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    return pb.Tool(
        name="f", parameters_json=json.dumps(schema), input_grammar=definition, input_syntax=syntax
    )


@pytest.mark.parametrize(
    ("syntax", "definition", "good", "bad"),
    [("lark", PATCH, GOOD_PATCH, "no patch"), ("regex", r'[ab\n"]{2,3}', 'a\n"', "abc")],
)
def test_the_input_of_a_call_matches_its_grammar(syntax: str, definition: str, good: str, bad: str) -> None:
    (function,) = functions_of([_tool(syntax, definition)])
    grammar = function.arguments.grammar

    assert function.arguments.not_honoured == ()
    assert accepts(grammar, json.dumps({"input": good}, ensure_ascii=False))
    assert not accepts(grammar, json.dumps({"input": bad}))
    assert not accepts(grammar, "{}")


@pytest.mark.parametrize(
    ("syntax", "definition"),
    [("lark", "start: <x>"), ("regex", "(?=a)"), ("gbnf", "root ::= x")],
)
def test_a_grammar_that_cannot_be_enforced_is_named(syntax: str, definition: str) -> None:
    (function,) = functions_of([_tool(syntax, definition)])

    assert function.arguments.not_honoured == (NOT_ENFORCED,)
    assert accepts(function.arguments.grammar, '{"input": "anything"}')


def test_engines_without_grammars_of_calls_name_it() -> None:
    assert not_enforced([pb.Tool(name="g"), _tool("regex", "a")]) == ["tools.format"]
    assert not_enforced([pb.Tool(name="g")]) == []


def test_rules_that_may_all_be_empty_take_little_time() -> None:
    rules = [f"r{n}: " + '"a"? ' * 15 + f"r{n + 1}" for n in range(480)]
    with within_cpu(1):
        read_lark("\n".join(["start: r0", *rules, 'r480: "b"']))
