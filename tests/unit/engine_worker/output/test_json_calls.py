"""Calls as JSON behind a tag: what is no call is text, whole; what is a call is not lost."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_worker.output.base import CallPart, Content, Piece
from engine_worker.output.json_calls import JsonCalls
from engine_worker.output.tool_calls import ToolCalls
from tests.support.cpu_time import within_cpu

_NAMES = ("get_weather", "now")
_BOSTON = '{"city": "Boston"}'
_CALL = f'{{"name": "get_weather", "arguments": {_BOSTON}}}'


def _summed(pieces: Sequence[Piece]) -> tuple[str, list[tuple[str, str, bool]]]:
    """The text, and of each call: name, arguments and whether they are whole."""
    text = "".join(piece.text for piece in pieces if isinstance(piece, Content))
    calls: dict[int, list[object]] = {}
    for piece in pieces:
        if isinstance(piece, CallPart):
            call = calls.setdefault(piece.index, ["", "", False])
            call[0] = str(call[0]) + piece.name
            call[1] = str(call[1]) + piece.arguments
            call[2] = call[2] or piece.complete
    return text, [(str(name), str(arguments), bool(whole)) for name, arguments, whole in calls.values()]


def _parsed(
    pieces: Sequence[str], tag: str = "<tool_call>", closing: str = "</tool_call>", only_calls: bool = False
) -> tuple[str, list[tuple[str, str, bool]]]:
    parser = ToolCalls(JsonCalls(tag, closing, _NAMES, only_calls))
    out: list[Piece] = []
    for piece in pieces:
        out += parser.feed(piece)
    return _summed([*out, *parser.finish()])


def _both(
    text: str, tag: str = "<tool_call>", closing: str = "</tool_call>"
) -> tuple[str, list[tuple[str, str, bool]]]:
    """The same in one piece and a character at a time."""
    whole = _parsed([text], tag, closing)
    assert _parsed(list(text), tag, closing) == whole
    return whole


@pytest.mark.parametrize(
    ("text", "shown", "arguments"),
    [
        (f"I look.\n<tool_call>\n{_CALL}\n</tool_call>", "I look.\n", [_BOSTON]),
        (f"<tool_call>{_CALL}</tool_call>\n<tool_call>\n{_CALL}\n</tool_call>", "", [_BOSTON, _BOSTON]),
        (f"<tool_call>\n{_CALL}\n</tool_call>\nDone, [yes].", "Done, [yes].", [_BOSTON]),
        (f"<tool_call>[{_CALL}, {_CALL}]</tool_call>", "", [_BOSTON, _BOSTON]),
        ('<tool_call>{"name": "get_weather", "parameters": {"city": "}]\\""}}', "", ['{"city": "}]\\""}']),
        (f'<tool_call>{{"arguments": {_BOSTON}, "name": "get_weather"}}</tool_call>', "", [_BOSTON]),
        (
            f'<tool_call>{{"name": "get_weather", "arguments": {_BOSTON}, "id": "}}"}}</tool_call>',
            "",
            [_BOSTON],
        ),
        (
            '<tool_call>{"name": "get_weather", "arguments": "{\\"city\\": \\"Boston\\"}"}</tool_call>',
            "",
            [_BOSTON],
        ),
        ('<tool_call>{"name": "now"}</tool_call>', "", ["{}"]),
        ('<tool_call>{"name": "now", "arguments": null}</tool_call>', "", ["{}"]),
        (f'<tool_call>{{"type": "function", "function": {_CALL}}}</tool_call>', "", [_BOSTON]),
        (f"Use the <tool_call> tag. <tool_call>{_CALL}</tool_call>", "Use the <tool_call> tag. ", [_BOSTON]),
    ],
)
def test_calls(text: str, shown: str, arguments: list[str]) -> None:
    content, calls = _both(text)

    assert content == shown
    assert [each[1] for each in calls] == arguments
    assert all(whole for _, _, whole in calls)


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "nope", "arguments": {"q": 1}}\n</tool_call>',
        '<tool_call>{"arguments": {"q": 1}, "name": "nope"}</tool_call> and on',
        "Use the <tool_call> tag to call it.",
        "A <tool_call>",
        "A <tool_ca",
        '<tool_call>{"city": "Boston"}</tool_call>',
        "<tool_call>{'name': 'get_weather'}</tool_call>",
        '<tool_call>{"name": "get_weather", "arguments": [1]}</tool_call>',
        '<tool_call>{"name": "get_weather", "arguments": "Boston"}</tool_call>',
        "<tool_call>[1, 2]</tool_call>",
        '<tool_call>{"nasal": ',
        '{"name": "get_weather", "arguments": {}}',
    ],
)
def test_text_that_is_no_call_is_shown_unchanged(text: str) -> None:
    assert _both(text) == (text, [])


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('<tool_call>\n{"name": "get_weather", "arguments": {"city": "Bos', '{"city": "Bos'),
        ('<tool_call>\n{"name": "get_weather", "argu', ""),
    ],
)
def test_a_call_that_breaks_off_is_not_whole(text: str, arguments: str) -> None:
    assert _both(text) == ("", [("get_weather", arguments, False)])


@pytest.mark.parametrize("text", ["<tool_call>\n{", '<tool_call>\n{"na', '<tool_call>\n{"name": "get_we'])
def test_a_call_that_breaks_off_before_its_name_is_not_shown(text: str) -> None:
    assert _both(text) == ("", [])


@pytest.mark.parametrize("text", ["<tool", "<tool_call>", '<tool_call>\n{"', "<tool_call>\n"])
def test_a_tag_that_can_only_begin_a_call_is_not_shown(text: str) -> None:
    parser = JsonCalls("<tool_call>", "</tool_call>", _NAMES, certain=True)

    assert parser.feed(f"So {text}") == ("So ", [])
    assert parser.finish() == ("", ())


@pytest.mark.parametrize(
    "text",
    [f"[TOOL_CALLS] [{_CALL}, {_CALL}]", f"[TOOL_CALLS][{_CALL},{_CALL}]", f"[TOOL_CALLS]{_CALL}{_CALL}"],
)
def test_lists_behind_a_tag_that_nothing_closes(text: str) -> None:
    assert _both(text, "[TOOL_CALLS]", "") == ("", [("get_weather", _BOSTON, True)] * 2)


def test_arguments_arrive_while_they_are_written() -> None:
    parser = ToolCalls(JsonCalls("<t>", "</t>", _NAMES))

    parser.feed('<t>{"name": "get_weather", "arguments": {"city')

    (part,) = [piece for piece in parser.feed('": "Bos') if isinstance(piece, CallPart)]
    assert part.arguments == '": "Bos'


@pytest.mark.parametrize("text", [f"[{_CALL}, {_CALL}]", f"{_CALL}\n{_CALL}"])
def test_without_a_tag_the_answer_is_calls(text: str) -> None:
    assert _parsed(list(text), "", "", only_calls=True) == ("", [("get_weather", _BOSTON, True)] * 2)


@pytest.mark.parametrize("text", ["[", '[{"na', "<tool_call>\n{"])
def test_a_forced_call_that_breaks_off_early_is_no_text(text: str) -> None:
    tag = "<tool_call>" if text.startswith("<") else ""
    assert _parsed([text], tag, "", only_calls=True) == ("", [])


@given(places=st.lists(st.integers(0, 1000), max_size=12))
@settings(max_examples=200, deadline=None)
def test_however_it_is_cut(places: list[int]) -> None:
    text = (
        'See <tool_call> here <tool_call>{"name": "nope", "arguments": {}}</tool_call>\n'
        f"<tool_call>\n{_CALL}\n</tool_call>\n"
        '<tool_call>{"name": "now", "arguments": "{}"}</tool_call> end'
    )
    borders = [0, *sorted({place % len(text) for place in places}), len(text)]
    pieces = [text[start:end] for start, end in pairwise(borders)]

    shown, calls = _parsed(pieces)

    assert shown == ('See <tool_call> here <tool_call>{"name": "nope", "arguments": {}}</tool_call>\nend')
    assert [(name, json.loads(arguments)) for name, arguments, _ in calls] == [
        ("get_weather", {"city": "Boston"}),
        ("now", {}),
    ]


def test_a_name_that_does_not_end_is_not_read_again_for_each_token() -> None:
    parser = JsonCalls("<tool_call>", "</tool_call>", {"f"})
    parser.feed('<tool_call>{"name": "')
    with within_cpu(3):
        for _ in range(20_000):
            parser.feed("aaaa")

    assert parser.feed('", "arguments": {}}')[0].endswith('aaaa", "arguments": {}}')
