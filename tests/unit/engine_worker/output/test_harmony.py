"""gpt-oss's messages, however they are cut and in whichever order their headers are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine_worker.output.base import CallPart, Content, Thinking
from engine_worker.output.harmony import Harmony

_HM = "<|channel|>analysis<|message|>Hm.<|end|>"
_BOSTON = '{"city": "Boston"}'

Summed = tuple[str, str, list[tuple[str, str, bool]]]


def _parsed(
    pieces: Sequence[str], opened: bool = False, shown: bool = True, only_calls: bool = False
) -> Summed:
    parser = Harmony({"get_weather", "now"}, opened, shown, lambda number: f"id{number}", only_calls)
    out = [each for piece in pieces for each in parser.feed(piece)]
    out += parser.finish()
    calls: dict[int, tuple[str, str, bool]] = {}
    for part in (each for each in out if isinstance(each, CallPart)):
        name, arguments, whole = calls.get(part.index, ("", "", False))
        calls[part.index] = (name + part.name, arguments + part.arguments, whole or part.complete)
    return (
        "".join(each.text for each in out if isinstance(each, Content)),
        "".join(each.text for each in out if isinstance(each, Thinking)),
        list(calls.values()),
    )


def _both(text: str) -> Summed:
    whole = _parsed([text])
    assert _parsed(list(text)) == whole
    return whole


@pytest.mark.parametrize(
    "call",
    [
        f"<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{_BOSTON}<|call|>",
        f" to=functions.get_weather<|channel|>commentary <|constrain|>json<|message|>{_BOSTON}<|call|>",
        f" to=functions.get_weather<|channel|>commentary json<|message|>{_BOSTON}<|call|>",
        f"<|channel|>commentary to=functions.get_weather json<|message|>{_BOSTON}<|call|>",
        f"<|channel|>commentary to=functions.get_weather<|message|>{_BOSTON}",
        f"<|channel|>analysis to=functions.get_weather code<|message|>{_BOSTON}<|call|>",
    ],
)
def test_a_call_wherever_its_recipient_stands(call: str) -> None:
    expected = [("get_weather", _BOSTON, True)]
    assert _both(call) == ("", "", expected)
    assert _both(f"{_HM}<|start|>assistant{call}") == ("", "Hm.", expected)


def test_thinking_a_preamble_two_calls_and_an_answer() -> None:
    text = (
        f"{_HM}<|start|>assistant<|channel|>commentary<|message|>I look. <|end|>"
        "<|start|>assistant<|channel|>commentary to=functions.now json<|message|><|call|>"
        f"<|start|>assistant to=functions.get_weather<|channel|>commentary<|message|>{_BOSTON}<|call|>"
        "<|start|>assistant<|channel|>final<|message|>Done.<|return|>"
    )
    assert _both(text) == ("I look. Done.", "Hm.", [("now", "{}", True), ("get_weather", _BOSTON, True)])


@pytest.mark.parametrize(
    "text",
    [
        '<|channel|>commentary to=functions.nope <|constrain|>json<|message|>{"q": 1}<|call|>',
        ' to=functions.nope<|channel|>commentary json<|message|>{"q": 1}<|call|>',
        "Plain text, to=you, <b>bold</b>.",
        "<|channel|>commentary to=python<|message|>print(1)<|call|>",
        "to=5 is where it ends, <b>not</b> at 6.",
        "to=5",
    ],
)
def test_text_that_is_no_call_is_shown_unchanged(text: str) -> None:
    assert _both(text) == (text, "", [])


def test_arguments_that_are_no_object_are_text() -> None:
    text = "<|channel|>commentary to=functions.get_weather<|message|>Boston<|call|>"
    assert _both(text) == ("Boston", "", [])


def test_a_call_that_breaks_off_is_not_whole() -> None:
    text = '<|channel|>commentary to=functions.get_weather<|message|>{"city": "Bos'
    assert _both(text) == ("", "", [("get_weather", '{"city": "Bos', False)])
    assert _both("<|channel|>commentary to=functions.get_wea") == ("", "", [])


def test_thinking_that_is_not_wanted_and_text_next_to_a_forced_call() -> None:
    text = f"{_HM}<|start|>assistant<|channel|>final<|message|>Yes"
    assert _parsed([text], shown=False) == ("Yes", "", [])
    assert _parsed([text], only_calls=True) == ("", "Hm.", [])


def test_a_prompt_that_opened_the_thinking() -> None:
    text = "Hm.<|end|><|start|>assistant<|channel|>final<|message|>Yes"
    assert _parsed([text], opened=True) == ("Yes", "Hm.", [])


@given(places=st.lists(st.integers(0, 1000), max_size=12))
@settings(max_examples=200, deadline=None)
def test_however_it_is_cut(places: list[int]) -> None:
    text = (
        f"{_HM}<|start|>assistant to=functions.get_weather<|channel|>commentary json<|message|>{_BOSTON}"
        "<|call|><|start|>assistant<|channel|>final<|message|>a < b <| c<|return|>"
    )
    borders = [0, *sorted({place % len(text) for place in places}), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(borders)]
    assert _parsed(pieces) == ("a < b <| c", "Hm.", [("get_weather", _BOSTON, True)])


@pytest.mark.parametrize(
    "words",
    [
        "The mark `<|channel|>` begins a channel, and the mark `<|message|>` a text.",
        "A <|start|> and then more than the ten words that stand in a header of a message.",
        "A <|channel|>" + "long" * 200 + ".",
    ],
)
def test_marks_that_a_text_mentions(words: str) -> None:
    quoted = json.dumps({"city": words})
    call = f"<|start|>assistant to=functions.get_weather<|channel|>commentary<|message|>{quoted}<|call|>"

    assert _both(f"<|channel|>final<|message|>{words}<|return|>") == (words, "", [])
    assert _both(f"<|channel|>analysis<|message|>{words}<|end|>{call}") == (
        "",
        words,
        [("get_weather", quoted, True)],
    )
