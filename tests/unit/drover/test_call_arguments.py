"""Arguments of tool calls in a conversation, perhaps truncated."""

from __future__ import annotations

import json

import pytest

from drover.call_arguments import TEXT_MEMBER, call_arguments, call_arguments_json

_DEEP = '{"a":' * 80 + "1" + "}" * 80


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", {}),
        ("  \n", {}),
        ('{"a": 1}', {"a": 1}),
        ('"{\\"a\\": 1}"', {"a": 1}),
        ('{"a": "b', {TEXT_MEMBER: '{"a": "b'}),
        ("[1]", {TEXT_MEMBER: "[1]"}),
        ("5", {TEXT_MEMBER: "5"}),
        ("null", {TEXT_MEMBER: "null"}),
        ("look at Paris", {TEXT_MEMBER: "look at Paris"}),
        ('{"a": NaN}', {TEXT_MEMBER: '{"a": NaN}'}),
        ('{"a": 1} {"b": 2}', {TEXT_MEMBER: '{"a": 1} {"b": 2}'}),
        (_DEEP, {TEXT_MEMBER: _DEEP}),
    ],
)
def test_any_text_becomes_an_object(text: str, arguments: object) -> None:
    assert call_arguments(text) == arguments
    assert json.loads(call_arguments_json(text)) == arguments


def test_text_that_is_an_object_stays_as_it_was_written() -> None:
    assert call_arguments_json('{ "b": 1, "a": 2 }') == '{ "b": 1, "a": 2 }'


def test_many_brackets_that_are_not_deep_are_an_object() -> None:
    wide = json.dumps({"a": [[number] for number in range(200)]})
    assert call_arguments(wide) == json.loads(wide)
    assert json.loads(call_arguments_json(wide)) == json.loads(wide)
