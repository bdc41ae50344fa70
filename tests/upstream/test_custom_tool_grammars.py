"""Grammars of custom tools in SGLang's grammar library."""

from __future__ import annotations

import json

import pytest

from drover.v1 import engine_pb2 as pb
from engine_worker.output.call_markup import CallMarkup
from engine_worker.schemas.call_grammar import functions_of
from engine_worker.schemas.free_answers import free_or_calls, rules_of_inputs
from engine_worker.schemas.schema_to_grammar import Grammar
from tests.schemas.xgrammar_accepts import accepts

_MARKUP = CallMarkup("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")
_LARK = 'start: "*" LINE+\nLINE: /.*\\n/'


def _grammar() -> Grammar:
    schema = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}
    tool = pb.Tool(name="patch", parameters_json=json.dumps(schema), input_grammar=_LARK, input_syntax="lark")
    inputs = rules_of_inputs(functions_of([tool]), _MARKUP, _MARKUP.tag, several=True)
    assert inputs is not None
    return free_or_calls(inputs, _MARKUP.tag)


def _call(text: str, name: str = "patch") -> str:
    call = {"name": name, "arguments": {"input": text}}
    return f"<tool_call>\n{json.dumps(call)}\n</tool_call>"


@pytest.mark.parametrize(
    ("answer", "is_accepted"),
    [
        ("", True),
        ("a < b, <tool> <tool_call <<tool_", True),
        (_call('*a\nb "c"\n'), True),
        ("I patch <tool_cal.\n" + _call("*a\n"), True),
        (_call("*a\n") + "\n" + _call("*b\n"), True),
        ("So: <tool_call>", False),
        (_call("a\n"), False),
        (_call("*a\n", name="path"), False),
    ],
)
def test_free_text_may_come_before_calls_that_obey_their_grammar(answer: str, is_accepted: bool) -> None:
    assert accepts(_grammar(), answer) is is_accepted
