"""Grammars in GBNF, which SentencePiece vocabularies that prepend a space need."""

from __future__ import annotations

import json

import pytest

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_grammar import ThinkingMarkup, answer_gbnf
from engine_worker.output.call_markup import BARE_LIST
from engine_worker.schemas.call_grammar import calls_grammar, functions_of
from engine_worker.schemas.constraint import from_schema
from engine_worker.schemas.gbnf_ambiguity_limit import ways
from engine_worker.schemas.gbnf_size_limits import MAX_ELEMENTS
from engine_worker.schemas.gbnf_writer import gbnf_text
from engine_worker.schemas.schema_to_grammar import ROOT, Grammar
from engine_worker.schemas.terms import Chars, Ref, choice, optional, repeat, sequence, text
from tests.schemas.gbnf_accepts import accepts, takes
from tests.schemas.keywords import CASES, Case
from tests.schemas.table import LOST, column, outcome
from tests.support.cpu_time import within_cpu

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}


def _grammar(schema: object) -> Grammar:
    return from_schema(json.dumps(schema)).grammar


def _strings(**keywords: object) -> Grammar:
    return _grammar({"type": "string", **keywords})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.keyword)
def test_a_keyword_is_kept_or_reported_as_in_the_table(case: Case) -> None:
    kept = outcome(case, accepts)

    assert kept != LOST
    assert column("llama.cpp").get(case.keyword) == kept


@pytest.mark.parametrize(
    ("least", "most"), [(0, 3), (2, None), (0, 2500), (1000, 1000), (1500, 3200), (2001, None)]
)
def test_a_count_is_exact_beyond_what_llama_cpp_counts(least: int, most: int | None) -> None:
    grammar = _strings(minLength=least, **({} if most is None else {"maxLength": most}))
    for length in {0, 1, least - 1, least, 999, 1000, 1001, 2000, most or 0, (most or 0) + 1} - {-1}:
        is_right = least <= length and (most is None or length <= most)
        assert accepts(grammar, json.dumps("x" * length)) is is_right, length


@pytest.mark.parametrize("text", ['"\\"', "\\\\", "]^-[", "é☃🐑", "\x7f", "a\tb\nc\r", '#{}"', "\u2028"])
def test_characters_that_gbnf_writes_otherwise(text: str) -> None:
    for grammar in (_grammar({"const": text}), _strings(), _grammar({"enum": [text, *"abcdefghij"]})):
        assert accepts(grammar, json.dumps(text, ensure_ascii=False))
    assert not accepts(_grammar({"const": text}), json.dumps(f"{text}x", ensure_ascii=False))
    one = _strings(pattern='^[\\]^\\-\\["\\\\\\u00e9]+$')
    assert accepts(one, json.dumps('-^[]"\\é', ensure_ascii=False))
    assert not accepts(one, '"x"')


def test_texts_with_common_prefixes_are_all_matched() -> None:
    words = ["", "a", "ab", "abc", "abd", "b", "ba", "bab", "c", "é", "éa", "z" * 70]
    values: list[object] = [*words, 5, 55, 556, None]
    grammar = _grammar({"enum": values})

    for word in values:
        assert accepts(grammar, json.dumps(word, ensure_ascii=False))
    for other in ("bb", "abe", 57, "zz"):
        assert not accepts(grammar, json.dumps(other))


def test_white_space_is_bounded() -> None:
    grammar = _grammar(SCHEMA)

    assert accepts(grammar, '{\n  "a": 1\n}')
    assert not accepts(grammar, '{\n\n\n"a":1}')
    assert not accepts(grammar, f'{{"a":{" " * 30}1}}')


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ('<think>a</thi<</think></think>\n{"a":1}', False),
        ('<think>a</thi<</think>\n{"a":1}', True),
        ('{"a":1}', True),
        ("<think>a</think>no", False),
        ('<think>{"a":1}', False),
    ],
)
def test_an_answer_after_thinking(text: str, taken: bool) -> None:
    assert takes(answer_gbnf(_grammar(SCHEMA), ThinkingMarkup("<think>", "</think>")), text) is taken


def test_a_closing_tag_that_begins_again_within_itself() -> None:
    gbnf = answer_gbnf(_grammar(SCHEMA), ThinkingMarkup("", "aabaac", opened=True))

    assert takes(gbnf, 'xaabaabaac{"a":1}')
    assert not takes(gbnf, 'xaabaabaa{"a":1}')
    assert not takes(gbnf, '{"a":1}')


def test_calls_of_functions() -> None:
    functions = functions_of([pb.Tool(name="f_g", parameters_json=json.dumps(SCHEMA))])
    grammar = calls_grammar(functions, BARE_LIST, several=True)

    assert accepts(grammar, '[{"name": "f_g", "arguments": {"a":1}}]')
    assert not accepts(grammar, '[{"name": "f_g", "arguments": {}}]')


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "string", "maxLength": MAX_ELEMENTS}, "positions"),
        ({"enum": [f"{chr(0x4E00 + number)}x" for number in range(400)]}, "alternatives at one position"),
    ],
)
def test_a_grammar_beyond_the_size_limits_is_rejected(schema: object, why: str) -> None:
    grammar = _grammar(schema)
    with (
        within_cpu(1),
        pytest.raises(ConstraintRejected, match=f"too large for this model's engine.*{why}"),
    ):
        gbnf_text(grammar)


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("^([ab]|[bc]|[bd])+$", "too many ways"),
        ("^(a?b?)*$", "repeats what may be empty"),
        ("^((a*)*)*$", ""),
        ("^(a+)+$", ""),
        ("^(a?){5}$", ""),
        ("a+b?a+", ""),
        (r"^[\w.-]+@([\w-]+\.)+[\w-]{2,4}$", ""),
    ],
)
def test_an_ambiguous_pattern_is_rejected(pattern: str, why: str) -> None:
    grammar = _strings(pattern=pattern)
    if why:
        with pytest.raises(ConstraintRejected, match=why):
            gbnf_text(grammar)
    else:
        assert gbnf_text(grammar)


def test_ways_to_match_a_text_are_counted() -> None:
    a = text("a")
    assert ways(repeat(a, 0, 50)) == 1
    assert ways(repeat(choice(a, Chars.text("ab")), 0, 4)) == 2**4
    assert ways(sequence(*[optional(a)] * 3)) == 3
    assert ways(sequence(*[optional(a)] * 4)) == 6
    assert ways(repeat(optional(a), 4, 4)) == 6


def test_repetitions_of_repetitions_mean_the_same() -> None:
    for pattern, texts in {
        "^(a*)+$": ["", "a", "aa"],
        "^(a+)+$": ["a", "aa"],
        "^(a?){2,3}$": ["", "aaa"],
    }.items():
        grammar = _strings(pattern=pattern)
        assert all(accepts(grammar, json.dumps(text)) for text in texts)
        assert not accepts(grammar, '"b"')
    assert not accepts(_strings(pattern="^(a+)+$"), '""')
    assert not accepts(_strings(pattern="^(a?){2,3}$"), '"aaaa"')


def _tree(*first: str) -> object:
    """A sum whose sides are such sums; one alternative for each name of the first side."""
    side = {"$ref": "#/$defs/E"}
    sums = [
        {"type": "object", "properties": {name: side, f"r{number}": side}, "required": [name, f"r{number}"]}
        for number, name in enumerate(first)
    ]
    return {"$defs": {"E": {"anyOf": [*sums, {"type": "integer"}]}}, "$ref": "#/$defs/E"}


def test_alternatives_that_double_with_each_level_are_rejected() -> None:
    with pytest.raises(ConstraintRejected, match="too many alternatives that begin alike"):
        gbnf_text(_grammar(_tree("left", "left")))
    assert gbnf_text(_grammar(_tree("left", "lefty")))


def test_many_alternatives_with_a_common_prefix_are_rejected() -> None:
    def union(count: int) -> Grammar:
        first: dict[str, object] = {"id": {"type": "integer"}}
        options = [
            {"type": "object", "properties": {**first, f"k{number}": {}}, "required": ["id", f"k{number}"]}
            for number in range(count)
        ]
        return _grammar({"anyOf": options})

    assert gbnf_text(union(60))
    with pytest.raises(ConstraintRejected, match="too many alternatives that begin alike"):
        gbnf_text(union(80))


def test_left_recursion_is_rejected() -> None:
    grammar = Grammar({ROOT: Ref("a"), "a": choice(sequence(repeat(text("y")), Ref("a")), text("x"))})
    with pytest.raises(ConstraintRejected, match="refers to itself"):
        gbnf_text(grammar)
