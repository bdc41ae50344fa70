"""The input of a custom tool, which is raw text: models write it as `{"input": "..."}`, the arguments of a
function.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto

import orjson

from drover.json_value import Json
from frontend.api.core.go_json import dump_text

INPUT = "input"
_HEAD = '{"input":"'
_BEGINNING = re.compile(r'\s*\{\s*"input"\s*:\s*"')
_HEX = "[0-9a-fA-F]"
_PAIR = rf"\\u[dD][89abAB]{_HEX}{{2}}\\u[dD][c-fC-F]{_HEX}{{2}}"
_PIECE = re.compile(rf'[^"\\]+|{_PAIR}|\\u{_HEX}{{4}}|\\[^u]', re.DOTALL)
# An escape that is not whole yet, or one half of a surrogate pair.
_INCOMPLETE = re.compile(
    rf"\\(?:u(?:{_HEX}{{0,3}}|[dD][89abAB]{_HEX}{{2}}(?:\\(?:u(?:[dD](?:[c-fC-F]{_HEX}?)?)?)?)?))?"
)
_REPLACEMENT = "\ufffd"


class _State(Enum):
    BEGINNING = auto()
    TEXT = auto()
    END = auto()
    OTHER = auto()


class InputReader:
    """Reads the input out of the arguments, fragment by fragment.

    Arguments of another form are read when they are whole: the only text among them, or all of them.
    """

    def __init__(self) -> None:
        self._state = _State.BEGINNING
        self._held = ""
        # Of arguments of another form: all fragments so far.
        self._whole: list[str] = []

    def feed(self, fragment: str) -> str:
        """The text that the fragment adds to the input."""
        if self._state is _State.END:
            return ""
        if self._state is _State.OTHER:
            self._whole.append(fragment)
            return ""
        self._held += fragment
        if self._state is _State.BEGINNING:
            self._begin()
        return self._take_text() if self._state is _State.TEXT else ""

    def finish(self) -> str:
        """The rest of the input when no fragment follows."""
        if self._state in (_State.BEGINNING, _State.OTHER):
            return _of_other_form(self._held + "".join(self._whole))
        return ""

    def _begin(self) -> None:
        if found := _BEGINNING.match(self._held):
            self._held, self._state = self._held[found.end() :], _State.TEXT
        elif not _HEAD.startswith("".join(self._held.split())):
            self._state = _State.OTHER

    def _take_text(self) -> str:
        held, at, pieces = self._held, 0, []
        while at < len(held):
            if held[at] == '"':
                self._state, at = _State.END, len(held)
            elif held[at] == "\\" and _INCOMPLETE.fullmatch(held, at):
                break
            else:
                piece = _PIECE.match(held, at)
                # A backslash that begins no escape is text.
                written = piece[0] if piece else held[at]
                pieces.append(_unescaped(written))
                at += len(written)
        self._held = held[at:]
        return "".join(pieces)


def input_of(arguments: str) -> str:
    """The input in a call's arguments, which may be cut off."""
    reader = InputReader()
    return reader.feed(arguments) + reader.finish()


def arguments_of(sent: str) -> str:
    """The arguments of a call whose input a client sends back."""
    return dump_text({INPUT: sent})


def _unescaped(written: str) -> str:
    if len(written) < 2 or written[0] != "\\":
        return written
    try:
        text = json.loads(f'"{written}"')
    except json.JSONDecodeError:
        return written
    assert isinstance(text, str)
    return _REPLACEMENT if "\ud800" <= text[0] <= "\udfff" else text


def _of_other_form(arguments: str) -> str:
    try:
        value: Json = orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return arguments
    if isinstance(value, str) or not isinstance(value, dict):
        return value if isinstance(value, str) else arguments
    if INPUT in value:
        found = value[INPUT]
        return found if isinstance(found, str) else dump_text(found)
    match [*value.values()]:
        case []:
            return ""
        case [str(only)]:
            return only
        case _:
            return arguments
