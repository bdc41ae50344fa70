"""The input of custom tools, out of the arguments that models write."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.api.openai.responses.custom_input import InputReader, arguments_of, input_of

_TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))


def _in_pieces(arguments: str, cuts: list[int]) -> str:
    reader = InputReader()
    ends = sorted({min(cut, len(arguments)) for cut in cuts} | {len(arguments)})
    begin, found = 0, []
    for end in ends:
        found.append(reader.feed(arguments[begin:end]))
        begin = end
    return "".join([*found, reader.finish()])


@given(_TEXTS, st.lists(st.integers(0, 80), max_size=12), st.booleans())
def test_every_text_is_read_back_in_any_pieces(sent: str, cuts: list[int], ascii_only: bool) -> None:
    arguments = json.dumps({"input": sent}, ensure_ascii=ascii_only)

    assert _in_pieces(arguments, cuts) == input_of(arguments) == sent
    assert input_of(arguments_of(sent)) == sent


@given(st.text(alphabet='{}":\\u input d83DEca0n \\n', max_size=40), st.lists(st.integers(0, 40), max_size=8))
def test_any_arguments_are_read_alike_in_any_pieces(arguments: str, cuts: list[int]) -> None:
    assert _in_pieces(arguments, cuts) == input_of(arguments)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", ""),
        ("{}", ""),
        (' { "input" : "a" } ', "a"),
        ('{"patch": "a"}', "a"),
        ('{"why": "b", "input": "a"}', "a"),
        ('{"input": {"a": 1}}', '{"a":1}'),
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 2}'),
        ('"a"', "a"),
        ("[1]", "[1]"),
        ("*** Begin Patch", "*** Begin Patch"),
        ('{"input": "a', "a"),
        ('{"input": "a\\x"}', "a\\x"),
        ('{"input": "\\ud83d"}', "\ufffd"),
        ('{"input": "line\nline"}', "line\nline"),
    ],
)
def test_arguments_of_other_forms_are_read_as_far_as_possible(arguments: str, expected: str) -> None:
    assert input_of(arguments) == expected
