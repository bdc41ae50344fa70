"""Structural tags: which texts their grammars allow, and which tags are malformed."""

from __future__ import annotations

import json
import re

import pytest

from drover.errors import ConstraintRejected
from engine_worker.schemas.constraint import from_structural_tag
from engine_worker.schemas.ebnf_writer import ebnf_text
from tests.schemas.llguidance_accepts import accepts
from tests.support.cpu_time import within_cpu

_SCHEMA = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"]}
_LEGACY = {
    "type": "structural_tag",
    "structures": [{"begin": "<f=x>", "schema": _SCHEMA, "end": "</f>"}],
    "triggers": ["<f="],
}
_TAG = {"type": "tag", "begin": "<a>", "content": {"type": "regex", "pattern": "[0-9]+"}, "end": "</a>"}


def _format(**fields: object) -> dict[str, object]:
    return {"type": "structural_tag", "format": fields}


@pytest.mark.parametrize(
    ("tag", "text", "is_allowed"),
    [
        (_LEGACY, "", True),
        (_LEGACY, "free < text <f", True),
        (_LEGACY, 'so <<f=x>{"a": 1}</f> and <f=x>{"a":1}</f>.', True),
        (_LEGACY, "so <f=x>{}</f>", False),
        (_LEGACY, "so <f=y>", False),
        (_LEGACY, 'so <f=x>{"a": 1}', False),
        ({**_LEGACY, "at_least_one": True}, "so", False),
        ({**_LEGACY, "at_least_one": True}, 'so <f=x>{"a": 1}</f> so', True),
        (_format(type="any_text"), "x\ny", True),
        (_format(type="const_string", value="ab"), "ab", True),
        (_format(type="const_string", value="ab"), "abc", False),
        (_format(**_TAG), "<a>12</a>", True),
        (_format(**_TAG), "<a>x</a>", False),
        (_format(type="tag", begin="(", content={"type": "any_text"}, end="))"), "(x)y))", True),
        (_format(type="tag", begin="(", content={"type": "any_text"}, end="))"), "(x))y", False),
        (
            _format(type="sequence", elements=[_TAG, {"type": "const_string", "value": "!"}]),
            "<a>1</a>!",
            True,
        ),
        (_format(type="or", elements=[_TAG, {"type": "grammar", "grammar": 'root ::= "y"'}]), "y", True),
        (
            _format(type="triggered_tags", triggers=["<a"], tags=[_TAG], stop_after_first=True),
            "x<a>1</a>",
            True,
        ),
        (
            _format(type="triggered_tags", triggers=["<a"], tags=[_TAG], stop_after_first=True),
            "<a>1</a>x",
            False,
        ),
        (_format(type="tags_with_separator", tags=[_TAG], separator=","), "<a>1</a>,<a>2</a>", True),
        (_format(type="tags_with_separator", tags=[_TAG], separator=","), "", True),
        (_format(type="tags_with_separator", tags=[_TAG], separator=",", at_least_one=True), "", False),
    ],
    ids=str,
)
def test_texts(tag: dict[str, object], text: str, is_allowed: bool) -> None:
    grammar = from_structural_tag(json.dumps(tag)).grammar

    assert accepts(grammar, text) is is_allowed
    ebnf = ebnf_text(grammar)
    defined = set(re.findall(r"^(\w+) ::=", ebnf, re.MULTILINE))
    assert set(re.findall(r"\b(?:root|t\d+|after\d+|r\d+|p\d+_\w+)\b", ebnf)) <= defined


@pytest.mark.parametrize(
    ("tag", "words"),
    [
        ([], "it must be an object"),
        ({}, "each format must be an object"),
        (_format(type="qwen_xml_parameter"), "'qwen_xml_parameter' are not supported"),
        ({**_LEGACY, "triggers": []}, "triggers must be a list"),
        ({**_LEGACY, "triggers": [""]}, "a trigger must be a text"),
        ({**_LEGACY, "triggers": ["<g"]}, "no tag begins with the trigger '<g'"),
        ({**_LEGACY, "structures": [{"begin": "<f=", "end": 5}]}, "end must be a text"),
        ({**_LEGACY, "structures": [5]}, "structures must be a list of 1 to 256 objects"),
        (_format(type="triggered_tags", triggers=["<a", "<b"], tags=[_TAG]), "the trigger '<b'"),
        (_format(type="any_text", excludes=["</f>"]), "excludes of a format is not supported"),
        (_format(**{**_TAG, "content": {"type": "any_text", "max_chars": 5}}), "max_chars of a format"),
        (_format(type="json_schema", json_schema={}, style="qwen_xml"), "style of a format"),
        (_format(type="sequence", elements=[]), "elements must be a list"),
        (_format(type="regex", pattern="(?=a)"), "look-around"),
        (_format(type="grammar", grammar="root ::= ???"), "EBNF, line 1"),
        (_format(type="json_schema", json_schema={"type": 5}), "malformed"),
    ],
    ids=str,
)
def test_malformed_tags(tag: object, words: str) -> None:
    with pytest.raises(ConstraintRejected, match=words):
        from_structural_tag(json.dumps(tag))


def test_large_parts_are_refused_before_all_are_read() -> None:
    part = {"type": "regex", "pattern": "(" + "a?" * 150 + ")*b"}
    elements = [{"type": "sequence", "elements": [part] * 100}] * 10
    with within_cpu(2), pytest.raises(ConstraintRejected, match="the structural tag is too large"):
        from_structural_tag(json.dumps(_format(type="sequence", elements=elements)))


def test_a_tag_that_is_too_large_is_no_json_schema() -> None:
    part = _format(type="const_string", value="x" * 600_000)
    with pytest.raises(ConstraintRejected, match="structural_tag: it is too large"):
        from_structural_tag(json.dumps(part))


def test_formats_are_not_nested_without_end() -> None:
    part: dict[str, object] = {"type": "any_text"}
    for _ in range(25):
        part = {"type": "sequence", "elements": [part]}
    with pytest.raises(ConstraintRejected, match="nested more than 20 deep"):
        from_structural_tag(json.dumps({"format": part}))


def _looking_for(*ends: str) -> str:
    tags = [{"type": "tag", "begin": end, "content": {"type": "any_text"}, "end": ""} for end in ends]
    return json.dumps({"format": {"type": "triggered_tags", "triggers": ends, "tags": tags}})


def test_texts_that_are_looked_for_are_bounded() -> None:
    with within_cpu(2):
        assert from_structural_tag(_looking_for("<function=", "<tool_call>", "[TOOL_CALLS]"))
    with pytest.raises(ConstraintRejected, match="have 258 characters, at most 256 are possible"):
        from_structural_tag(_looking_for(*(chr(97 + number) * 43 for number in range(6))))
    mixed = ["".join(chr(97 + (step * at) % 26) for at in range(32)) for step in (3, 5, 7)]
    with within_cpu(2), pytest.raises(ConstraintRejected, match="triggers are too many or too long"):
        from_structural_tag(_looking_for(*mixed))
