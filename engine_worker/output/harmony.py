"""Parser of gpt-oss's format: messages with a channel and an optional recipient, in any order.

<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…<|return|>
<|start|>assistant to=functions.f<|channel|>commentary json<|message|>{…}<|call|>
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from enum import Enum, auto

from engine_worker.output.arguments import Arguments
from engine_worker.output.base import CallPart, Content, Piece, Thinking
from engine_worker.output.tool_calls import new_call_id
from engine_worker.output.whole_calls import held_beginning

_START, _CHANNEL, _MESSAGE = "<|start|>", "<|channel|>", "<|message|>"
_HEADER_MARKS = (_START, _CHANNEL, _MESSAGE)
_ENDS = ("<|end|>", "<|call|>", "<|return|>")
_MARKS = (*_HEADER_MARKS, "<|constrain|>")
_BODY_ENDS = (*_ENDS, _START, _CHANNEL)
_RECIPIENT = re.compile(r"to=([^\s<]+)")
_NAME_OF_CHANNEL = re.compile(r"<\|channel\|>\s*(\w+)")
_RECIPIENT_FIRST = "to="
# A message's header: at most ten marks and words. A mark that a text mentions does not match it.
_HEADER = re.compile(r"(?:\s*+(?:<\|(?:start|channel|constrain)\|>|[\w.:=/$@-]++)){0,10}+\s*")
_MAX_HEADER = 400
_THOUGHTS = "analysis"


class _Body(Enum):
    """Kind of the current message's text. UNDECIDED: no text yet, so a header may begin."""

    UNDECIDED = auto()
    HEADER = auto()
    THINKING = auto()
    CONTENT = auto()
    CALL = auto()


class Harmony:
    """Implements output.base.OutputParser.

    `names`: functions that may be called; a call of any other one is shown as text, with its markup.
    `opened`: the prompt ends within a thinking block. `shows_thinking`: False drops thinking. `only_calls`: a
    grammar forces a call, so all other text is dropped.
    """

    def __init__(
        self,
        names: Collection[str],
        opened: bool = False,
        shows_thinking: bool = True,
        make_id: Callable[[int], str] = new_call_id,
        only_calls: bool = False,
    ) -> None:
        self._names = names
        self._shows_thinking = shows_thinking
        self._make_id = make_id
        self._only_calls = only_calls
        self._body = _Body.THINKING if opened else _Body.UNDECIDED
        # Kind to return to if the text that looks like a header turns out to be none.
        self._interrupted = _Body.CONTENT
        self._held = ""
        # True if the message is shown with its markup.
        self._is_whole = False
        self._name = ""
        self._arguments: Arguments | None = None
        self._calls = 0

    @property
    def holds(self) -> bool:
        return bool(self._held)

    def feed(self, text: str) -> Sequence[Piece]:
        self._held += text
        pieces: list[Piece] = []
        while self._step(pieces):
            pass
        return self._wanted(pieces)

    def _wanted(self, pieces: Sequence[Piece]) -> Sequence[Piece]:
        return [each for each in pieces if not isinstance(each, Content)] if self._only_calls else pieces

    def finish(self) -> Sequence[Piece]:
        pieces: list[Piece] = []
        rest = self._taken(len(self._held))
        if self._body is _Body.UNDECIDED:
            self._body = _Body.CONTENT
        if self._body is _Body.HEADER and not any(mark in rest for mark in (_START, _CHANNEL)):
            # Plain words that begin like a recipient.
            self._body = _Body.CONTENT
        if self._body is not _Body.HEADER:
            self._say(rest, pieces)
        return self._wanted(pieces)

    def _step(self, pieces: list[Piece]) -> bool:
        match self._body:
            case _Body.UNDECIDED:
                return self._decide()
            case _Body.HEADER:
                return self._read_header(pieces)
            case _:
                return self._read_body(pieces)

    def _decide(self) -> bool:
        """Decide between a header and plain text. Returns False if more text is needed."""
        begun = self._held.lstrip()
        marks = (*_HEADER_MARKS, _RECIPIENT_FIRST)
        if any(begun.startswith(mark) for mark in marks):
            self._body = _Body.HEADER
            return True
        if any(mark.startswith(begun) for mark in marks):
            return False
        self._body = _Body.CONTENT
        return True

    def _read_header(self, pieces: list[Piece]) -> bool:
        header, found, _ = self._held.partition(_MESSAGE)
        if not _may_be_header(header if found else _without_beginning(header)):
            return self._is_no_header(pieces)
        if not found:
            return False
        if self._interrupted is _Body.CALL and self._arguments is None:
            pieces.append(self._begin("{}"))
        self._taken(len(header) + len(found))
        recipient, channel = _RECIPIENT.search(header), _NAME_OF_CHANNEL.search(header)
        self._name = recipient[1].rpartition(".")[2] if recipient else ""
        self._is_whole = False
        if self._name in self._names:
            self._body, self._arguments = _Body.CALL, None
        elif recipient:
            self._body, self._is_whole = _Body.CONTENT, True
            pieces.append(Content(header + found))
        else:
            is_thought = channel is not None and channel[1] == _THOUGHTS
            self._body = _Body.THINKING if is_thought else _Body.CONTENT
        return True

    def _is_no_header(self, pieces: list[Piece]) -> bool:
        """Treat the text as part of the previous message."""
        self._body = self._interrupted
        begun = self._held.lstrip()
        mark = next(each for each in (*_HEADER_MARKS, _RECIPIENT_FIRST) if begun.startswith(each))
        self._say(self._taken(len(self._held) - len(begun) + len(mark)), pieces)
        return bool(self._held)

    def _read_body(self, pieces: list[Piece]) -> bool:
        found = [(at, mark) for mark in _BODY_ENDS if (at := self._held.find(mark)) >= 0]
        if not found:
            keep = max(held_beginning(self._held, mark) for mark in _BODY_ENDS)
            self._say(self._taken(len(self._held) - keep), pieces)
            return False
        at, mark = min(found)
        self._say(self._taken(at), pieces)
        if mark in _ENDS:
            self._taken(len(mark))
        self._end(mark, pieces)
        return bool(self._held)

    def _end(self, mark: str, pieces: list[Piece]) -> None:
        if mark not in _ENDS:
            self._interrupted, self._body = self._body, _Body.HEADER
            return
        if self._is_whole:
            pieces.append(Content(mark))
        if self._body is _Body.CALL and self._arguments is None:
            pieces.append(self._begin("{}"))
        self._interrupted, self._body = _Body.CONTENT, _Body.UNDECIDED

    def _say(self, text: str, pieces: list[Piece]) -> None:
        if not text:
            return
        match self._body:
            case _Body.THINKING:
                if self._shows_thinking:
                    pieces.append(Thinking(text))
            case _Body.CALL:
                self._call(text, pieces)
            case _:
                pieces.append(Content(text))

    def _call(self, text: str, pieces: list[Piece]) -> None:
        if self._arguments is None:
            text = text.lstrip()
            if text.startswith("{"):
                pieces.append(self._begin(text))
            elif text:
                # Arguments must be an object.
                self._body = _Body.CONTENT
                pieces.append(Content(text))
            return
        pieces.append(CallPart(self._calls - 1, arguments=text, complete=self._arguments.add(text)))

    def _begin(self, arguments: str) -> CallPart:
        self._arguments = Arguments()
        index, self._calls = self._calls, self._calls + 1
        return CallPart(index, self._make_id(index), self._name, arguments, self._arguments.add(arguments))

    def _taken(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken


def _may_be_header(text: str) -> bool:
    return len(text) <= _MAX_HEADER and _HEADER.fullmatch(text) is not None


def _without_beginning(text: str) -> str:
    """Remove the beginning of a mark from the end of `text`."""
    at = text.rfind("<")
    return (
        text[:at] if at >= 0 and any(mark.startswith(text[at:]) for mark in (*_MARKS, *_BODY_ENDS)) else text
    )
