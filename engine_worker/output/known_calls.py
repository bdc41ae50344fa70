"""Pass only calls of offered functions to an engine's parser; everything else is text."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from engine_worker.output.tool_calls import CallFragment, CallParser
from engine_worker.output.whole_calls import held_beginning


@dataclass(frozen=True, slots=True)
class CallShape:
    """The markup of a call: `outer` (`<tool_call>`, may be missing), `inner` (`<function=`), a name, `>`,
    then everything up to `end`, and `outer_end` if there is an outer tag. White space may stand between them.
    """

    outer: str
    inner: str
    end: str
    outer_end: str

    @property
    def head(self) -> re.Pattern[str]:
        return re.compile(rf"(?:{re.escape(self.outer)}\s*)?{re.escape(self.inner)}\s*([^>\s]+)\s*>")


_NAME_SO_FAR = re.compile(r"\s*[^>\s]*\s*")


class _State(Enum):
    TEXT = auto()
    HEAD = auto()
    CALL = auto()
    END = auto()


class KnownCalls:
    """A CallParser that wraps another one."""

    def __init__(self, parser: CallParser, shape: CallShape, names: Collection[str]) -> None:
        self._parser = parser
        self._shape = shape
        self._head = shape.head
        self._names = names
        self._state = _State.TEXT
        self._held = ""

    @property
    def holds(self) -> bool:
        return self._state is not _State.TEXT or bool(self._held)

    def feed(self, text: str) -> tuple[str, Sequence[CallFragment]]:
        self._held += text
        shown: list[str] = []
        calls: list[CallFragment] = []
        while self._step(shown, calls):
            pass
        return "".join(shown), calls

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        """Drop a call that ends before its name; show a mark that nothing follows."""
        held = self._taken(len(self._held))
        if self._state is _State.TEXT:
            return held, ()
        if self._state is _State.HEAD:
            return ("" if self._shape.inner in held else held), ()
        _, calls = self._parser.feed(held)
        _, more = self._parser.finish()
        return "", [*calls, *more]

    def _step(self, shown: list[str], calls: list[CallFragment]) -> bool:
        match self._state:
            case _State.TEXT:
                return self._find_mark(shown)
            case _State.HEAD:
                return self._read_head(shown)
            case _State.CALL:
                return self._read_call(calls)
            case _State.END:
                return self._skip_end(calls)

    def _find_mark(self, shown: list[str]) -> bool:
        marks = (self._shape.outer, self._shape.inner)
        found = [at for mark in marks if (at := self._held.find(mark)) >= 0]
        if not found:
            keep = max(held_beginning(self._held, mark) for mark in marks)
            shown.append(self._taken(len(self._held) - keep))
            return False
        shown.append(self._taken(min(found)))
        self._state = _State.HEAD
        return True

    def _read_head(self, shown: list[str]) -> bool:
        head = self._head.match(self._held)
        if head is not None and head[1] in self._names:
            self._state = _State.CALL
            return True
        if head is None and self._may_become_head():
            return False
        self._state = _State.TEXT
        shown.append(self._taken(1))
        return True

    def _may_become_head(self) -> bool:
        rest = self._held.removeprefix(self._shape.outer).lstrip()
        inner = self._shape.inner
        return inner.startswith(rest) or (
            rest.startswith(inner) and _NAME_SO_FAR.fullmatch(rest[len(inner) :]) is not None
        )

    def _read_call(self, calls: list[CallFragment]) -> bool:
        end = self._shape.end
        at = self._held.find(end)
        if at < 0:
            keep = held_beginning(self._held, end)
            calls += self._parser.feed(self._taken(len(self._held) - keep))[1]
            return False
        calls += self._parser.feed(self._taken(at + len(end)))[1]
        self._state = _State.END
        return True

    def _skip_end(self, calls: list[CallFragment]) -> bool:
        """Skip the end of the outer tag, and white space between calls."""
        rest = self._held.lstrip()
        outer_end = self._shape.outer_end
        if rest.startswith(outer_end):
            calls += self._parser.feed(outer_end)[1]
            self._held = rest[len(outer_end) :]
            return True
        if outer_end.startswith(rest):
            return False
        self._held, self._state = rest, _State.TEXT
        return True

    def _taken(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken
