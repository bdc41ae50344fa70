"""Arguments in pieces: complete where the whole text is an object, and each piece read once."""

from __future__ import annotations

import pytest

from engine_worker.output import arguments as arguments_module
from engine_worker.output.arguments import Arguments, is_object

_TEXTS = [
    '{"a": 1}',
    ' {"a": {"b": "}"}, "c": [1, {"d": "\\"}"}]} ',
    "{}",
    '{"a": }',
    '{"a": 1} more',
    '{"a": 1}}',
    "[1, 2]",
    '"text"',
    "]",
    "",
]


@pytest.mark.parametrize("length", [1, 2, 3, 100])
@pytest.mark.parametrize("text", _TEXTS)
def test_they_are_complete_where_the_text_so_far_is_an_object(text: str, length: int) -> None:
    arguments, so_far = Arguments(), ""
    for at in range(0, len(text), length):
        piece = text[at : at + length]
        so_far += piece
        assert arguments.add(piece) == is_object(so_far)
    assert arguments.complete == is_object(text)
    assert arguments.is_blank == (not text.strip())


def test_a_long_text_with_many_brackets_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = 0

    def counted(text: str) -> bool:
        nonlocal parsed
        parsed += 1
        return is_object(text)

    monkeypatch.setattr(arguments_module, "is_object", counted)
    arguments = Arguments()
    arguments.add('{"code": "')
    for _ in range(1_000):
        assert not arguments.add("if (x) { y(); }")
    assert arguments.add('"}')
    assert parsed == 1
