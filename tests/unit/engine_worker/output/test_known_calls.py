"""KnownCalls: calls of offered functions reach the wrapped parser, everything else stays text."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_worker.output.known_calls import CallShape, KnownCalls
from engine_worker.output.tool_calls import CallFragment

_SHAPE = CallShape("<tool_call>", "<function=", "</function>", "</tool_call>")
_F = "<tool_call>\n<function=f>\n{}\n</function>\n</tool_call>"
_G = _F.replace("=f>", "=g>")
# What the wrapped parser gets of `_F`; its `finish` is called if the output ends with a call.
_FED = "<tool_call>\n<function=f>\n{}\n</function></tool_call>"


class _Wrapped:
    """A CallParser that returns what it is fed as one fragment for each piece."""

    def __init__(self) -> None:
        self.holds = False

    def feed(self, text: str) -> tuple[str, Sequence[CallFragment]]:
        return "", [CallFragment(1, "", text)]

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        return "", [CallFragment(1, "", "|end")]


def _parsed(pieces: Sequence[str], names: Sequence[str] = ("f",)) -> tuple[str, str]:
    """The text, and what the wrapped parser got."""
    parser = KnownCalls(_Wrapped(), _SHAPE, names)
    outputs = [*(parser.feed(piece) for piece in pieces), parser.finish()]
    text = "".join(text for text, _ in outputs)
    return text, "".join(call.arguments for _, calls in outputs for call in calls)


@pytest.mark.parametrize(
    ("output", "text", "calls"),
    [
        ("just text", "just text", ""),
        (f"a {_F} b", "a b", _FED),
        ("<function=f>{}</function> b", "b", "<function=f>{}</function>"),
        (f"{_F}\n{_F}", "", 2 * _FED + "|end"),
        (_G, _G, ""),
        (f"{_G}{_F}", _G, _FED + "|end"),
        ("a <tool_call> is a mark", "a <tool_call> is a mark", ""),
        ("a <tool_call>", "a <tool_call>", ""),
        ("1 <", "1 <", ""),
        # Cut off before the name, within the arguments, and after the call.
        ("a <tool_call><function=", "a ", ""),
        ("<function=f>{", "", "<function=f>{|end"),
        ("<function=f>{}</function>\n</tool", "", "<function=f>{}</function>\n</tool|end"),
    ],
)
def test_texts_and_calls(output: str, text: str, calls: str) -> None:
    expected = (text, calls)
    assert _parsed([output]) == expected
    assert _parsed(list(output)) == expected


@given(
    st.lists(st.sampled_from([_F, _G, " text ", "<", "<tool_call>", "<function=f>", "</function>"])),
    st.data(),
)
def test_the_result_does_not_depend_on_how_the_text_is_split(parts: list[str], data: st.DataObject) -> None:
    output = "".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(output)), max_size=5)))
    pieces = [output[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(output)], strict=True)]

    assert _parsed(pieces) == _parsed([output])


def test_text_that_may_become_a_call_is_held() -> None:
    parser = KnownCalls(_Wrapped(), _SHAPE, ["f"])
    seen = [
        (parser.feed(piece)[0], parser.holds) for piece in ("a", " <tool", " box", "<tool_call><function=f>")
    ]
    assert seen == [("a", False), (" ", True), ("<tool box", False), ("", True)]
