"""Calls: numbered, named once, known to be whole."""

from __future__ import annotations

from collections.abc import Sequence

from engine_worker.output.base import CallPart, Content
from engine_worker.output.tool_calls import CallFragment, ToolCalls, new_call_id


class Played:
    """Says what it was given, one entry for each feed."""

    holds = True

    def __init__(self, *entries: tuple[str, Sequence[CallFragment]]) -> None:
        self._entries = list(entries)

    def feed(self, text: str) -> tuple[str, Sequence[CallFragment]]:
        return self._entries.pop(0)

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        return "", ()


def calls(*entries: tuple[str, Sequence[CallFragment]], without_arguments: Sequence[str] = ()) -> ToolCalls:
    return ToolCalls(Played(*entries), without_arguments, lambda number: f"id{number}")


def test_fragments_of_two_calls() -> None:
    parser = calls(
        ("look", [CallFragment(0, "f", "")]),
        ("", [CallFragment(0, "", '{"a":'), CallFragment(0, "", "1}")]),
        ("", [CallFragment(1, "g", "{}")]),
    )
    assert parser.feed("") == [Content("look"), CallPart(0, "id0", "f")]
    assert parser.feed("") == [CallPart(0, arguments='{"a":'), CallPart(0, arguments="1}", complete=True)]
    assert parser.feed("") == [CallPart(1, "id1", "g", "{}", complete=True)]
    assert parser.finish() == []


def test_the_same_function_twice_is_two_calls() -> None:
    """Some parsers number calls by their function."""
    parser = calls(("", [CallFragment(3, "f", '{"a":1}'), CallFragment(3, "f", '{"a":2}')]))
    assert [(part.index, part.arguments) for part in parser.feed("") if isinstance(part, CallPart)] == [
        (0, '{"a":1}'),
        (1, '{"a":2}'),
    ]


def test_a_call_without_arguments_is_whole_where_there_are_none() -> None:
    one, other = (calls(("", [CallFragment(0, "f", "")]), without_arguments=names) for names in (["f"], []))
    one.feed("")
    other.feed("")
    assert one.finish() == [CallPart(0, arguments="{}", complete=True)]
    assert other.finish() == []


def test_arguments_that_belong_to_no_call_are_dropped() -> None:
    assert calls(("", [CallFragment(0, "", "{}")])).feed("") == []


def test_a_closing_brace_within_does_not_complete() -> None:
    parser = calls(("", [CallFragment(0, "f", '{"a": {}')]), ("", [CallFragment(0, "", "}")]))
    first, second = parser.feed(""), parser.feed("")
    assert [part.complete for part in (*first, *second) if isinstance(part, CallPart)] == [False, True]


def test_ids_look_like_ollamas() -> None:
    assert len({new_call_id(0) for _ in range(100)}) == 100
    assert new_call_id(0).startswith("call_")
    assert len(new_call_id(0)) == len("call_") + 8
