"""Grammars of answers with calls and formats, checked with llguidance."""

from __future__ import annotations

import json

import llguidance
import pytest

from drover.errors import ConstraintRejected
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_grammar import ThinkingMarkup, answer_lark
from engine_worker.output.call_markup import BARE_LIST, CallMarkup
from engine_worker.schemas.call_grammar import calls_grammar, functions_of
from engine_worker.schemas.constraint import from_schema
from engine_worker.schemas.free_answers import rules_of_inputs
from engine_worker.schemas.schema_to_grammar import Grammar

TAGS = CallMarkup("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")
CITY = '{"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}'
FUNCTIONS = functions_of([pb.Tool(name="weather", parameters_json=CITY), pb.Tool(name='n"ow é')])
NOW = '{"name": "n\\"ow é", "arguments": {}}'
WEATHER = '{"name": "weather", "arguments": {"city": "Oslo"}}'
ANSWER = from_schema('{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}').grammar
TAGGED = ThinkingMarkup("<think>", "</think>")


def _takes(body: Grammar, text: str, thought: ThinkingMarkup | None = None, tag: str = "") -> bool:
    """As a whole answer, a byte at a time."""
    lark = answer_lark(body, thought, end_token=None, tag=tag).removeprefix("%llguidance {}\n")
    tokenizer = llguidance.LLTokenizer("byte")
    matcher = llguidance.LLMatcher(tokenizer, llguidance.LLMatcher.grammar_from_lark(lark))
    assert not matcher.get_error()
    ids = tokenizer.tokenize_str(text)
    return matcher.try_consume_tokens(ids) == len(ids) and bool(matcher.is_accepting())


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        (f"<tool_call>\n{NOW}\n</tool_call>", True),
        (f"<think>Hm, </thi</think>\n\n<tool_call>\n{WEATHER}\n</tool_call>", True),
        (f"<tool_call>\n{NOW}\n</tool_call>\n<tool_call>\n{WEATHER}\n</tool_call>", True),
        (f"Sure! <tool_call>\n{NOW}\n</tool_call>", False),
        (f"<think>Hm</think>Sure! <tool_call>\n{NOW}\n</tool_call>", False),
        ('<tool_call>\n{"name": "nope", "arguments": {}}\n</tool_call>', False),
        ('<tool_call>\n{"name": "weather", "arguments": {}}\n</tool_call>', False),
        ("I would rather not.", False),
        ("", False),
    ],
)
def test_a_forced_call_matches_its_grammar(text: str, taken: bool) -> None:
    assert _takes(calls_grammar(FUNCTIONS, TAGS, several=True), text, TAGGED) is taken


PATCH = pb.Tool(
    name="patch",
    parameters_json='{"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}',
    input_grammar='start: "*" LINE+\nLINE: /.*\\n/',
    input_syntax="lark",
)
PATCHED = '<tool_call>\n{"name": "patch", "arguments": {"input": "*a\\nb \\"c\\"\\n"}}\n</tool_call>'


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("", True),
        ("Hello.\n", True),
        ("a < b, <tool> <tool_call <<tool_", True),
        (PATCHED, True),
        (f"I patch <tool_cal.\n{PATCHED}", True),
        (f"<think>Hm</think>\n\nI patch.\n{PATCHED}", True),
        (f"{PATCHED}\n<tool_call>\n{WEATHER}\n</tool_call>", True),
        (f"So: {PATCHED[:-20]}", False),
        ("So: <tool_call>", False),
        (f"I patch.\n{PATCHED.replace('*a', 'a')}", False),
        (f"I patch.\n{PATCHED.replace('patch', 'path')}", False),
    ],
)
def test_free_text_may_come_before_calls_that_obey_their_grammar(text: str, taken: bool) -> None:
    inputs = rules_of_inputs([*FUNCTIONS, *functions_of([PATCH])], TAGS, TAGS.tag, several=True)

    assert inputs is not None
    assert _takes(inputs, text, TAGGED, TAGS.tag) is taken


def test_thinking_that_the_prompt_opened_may_have_the_tag_in_it() -> None:
    inputs = rules_of_inputs(functions_of([PATCH]), TAGS, TAGS.tag, several=True)

    assert inputs is not None
    opened = ThinkingMarkup("<think>", "</think>", opened=True)
    assert _takes(inputs, f"Hm <tool_call></think>I patch.\n{PATCHED}", opened, TAGS.tag)
    assert _takes(inputs, "Hm <tool_call></think>No.", opened, TAGS.tag)


@pytest.mark.parametrize(
    ("tools", "markup"),
    [([], TAGS), ([PATCH], None), ([PATCH], BARE_LIST), ([PATCH], CallMarkup("[[C]", "", "[/C]"))],
)
def test_without_a_grammar_or_a_plain_tag_answers_are_free(
    tools: list[pb.Tool], markup: CallMarkup | None
) -> None:
    functions = [*FUNCTIONS, *functions_of(tools)]
    assert rules_of_inputs(functions, markup, markup.tag if markup else "", several=True) is None


def test_a_single_call_allows_no_second_one() -> None:
    one = calls_grammar(FUNCTIONS, BARE_LIST, several=False)

    assert _takes(one, f"[{NOW}]")
    assert not _takes(one, f"[{NOW}, {NOW}]")
    assert _takes(calls_grammar(FUNCTIONS, BARE_LIST, several=True), f"[{NOW}, {NOW}]")


def test_thinking_opened_by_the_prompt_must_be_closed() -> None:
    grammar, opened = (
        calls_grammar(FUNCTIONS, TAGS, several=False),
        ThinkingMarkup("", "</think>", opened=True),
    )

    assert _takes(grammar, f"Hm</think><tool_call>\n{NOW}\n</tool_call>", opened)
    assert not _takes(grammar, f"<tool_call>\n{NOW}\n</tool_call>", opened)


@pytest.mark.parametrize(
    ("text", "taken"),
    [('{"a":1}', True), (f"<tool_call>\n{NOW}\n</tool_call>", True), ("1", False), ("Well, ", False)],
)
def test_a_call_or_a_format(text: str, taken: bool) -> None:
    assert _takes(calls_grammar(FUNCTIONS, TAGS, several=False, answer=ANSWER), text) is taken


def test_a_format_after_thinking() -> None:
    thought = ThinkingMarkup("[THINK]", "[/THINK]")

    assert _takes(ANSWER, '[THINK]a/b[/THINK] {"a":1}', thought)
    assert _takes(ANSWER, '{"a":1}', thought)
    assert not _takes(ANSWER, "[THINK]a[/THINK] one", thought)


def test_an_answer_may_end_with_the_models_own_token() -> None:
    assert "end_of_answer: <[7]>?" in answer_lark(ANSWER, None, end_token=7)


def test_large_tools_that_exceed_the_limit_together_are_rejected() -> None:
    properties = {f"p{number}": {"type": "string"} for number in range(200)}
    wide = json.dumps({"type": "object", "properties": properties})
    tools = [pb.Tool(name=f"f{number}", parameters_json=wide) for number in range(40)]

    assert functions_of(tools[:5])
    with pytest.raises(ConstraintRejected, match="grammar of the tools is too large"):
        functions_of(tools)
