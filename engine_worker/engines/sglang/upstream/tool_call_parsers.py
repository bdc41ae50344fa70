"""Parsers for tool calls: SGLang's, adapted, and Drover's for formats of which SGLang loses parts.

Most of SGLang's streaming parsers expect one token at a time, and some lose calls even then (tests/upstream).
A busy stream joins tokens, and a resumed answer replays hundreds at once. All of them drop text that looks
like a call and is none. So JSON after a tag is read by Drover's own parser; parsers that stream
reliably get only calls of offered functions; the others get everything that may be a call as a whole, at the
end of the answer, and what they find no call in is text.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.function_call.json_array_parser import JsonArrayParser

from engine_worker.engines.sglang.upstream.templates import Rendered
from engine_worker.output.arguments import is_object
from engine_worker.output.json_calls import JsonCalls
from engine_worker.output.known_calls import CallShape, KnownCalls
from engine_worker.output.tool_calls import CallFragment, CallParser
from engine_worker.output.whole_calls import FromFirstName, MarkSplitter, OnlyCalls, ReadWhole

if TYPE_CHECKING:
    from sglang.srt.function_call.core_types import ToolCallItem
    from transformers import PreTrainedTokenizerBase

# Formats with JSON after a tag: the tag, and what ends it.
_JSON_IN_TAGS = {
    **dict.fromkeys(("qwen", "qwen25", "hermes"), ("<tool_call>", "</tool_call>")),
    "mistral": ("[TOOL_CALLS]", ""),
}
_QWEN_CODER = CallShape("<tool_call>", "<function=", "</function>", "</tool_call>")
_STREAM_WELL = dict.fromkeys(("qwen3_coder", "step3p5", "nanbeige"), _QWEN_CODER)
# Far more steps than a piece of text can contain.
_MAX_STEPS = 10_000
# Characters of markup between a mark and the name of the function.
_MAX_BEFORE_NAME = 60


def call_parser(
    name: str, rendered: Rendered, tokenizer: PreTrainedTokenizerBase | None, forced: bool
) -> CallParser:
    """Choose the parser of a format. `forced`: a grammar makes the answer nothing but calls."""
    parser = _call_parser(name, rendered, tokenizer, forced)
    return OnlyCalls(parser) if forced else parser


def _call_parser(
    name: str, rendered: Rendered, tokenizer: PreTrainedTokenizerBase | None, forced: bool
) -> CallParser:
    assert rendered.request is not None
    choice = rendered.request.tool_choice if forced else None
    native = FunctionCallParser(rendered.tools, name, tokenizer=tokenizer, tool_choice=choice)
    is_array = rendered.constraint is not None and rendered.constraint[0] == "json_schema"
    if forced and (is_array or not native.owns_tool_format()):
        # Forced calls of a model without a grammar for its own format are a JSON array.
        return _StreamedArray(rendered)
    names = {tool.function.name for tool in rendered.tools if tool.function.name}
    if name in _JSON_IN_TAGS:
        return JsonCalls(*_JSON_IN_TAGS[name], names, named=name == "mistral")
    mark = _mark_of(native)
    if name in _STREAM_WELL:
        return KnownCalls(_Streamed(native, mark), _STREAM_WELL[name], names)
    if name == "pythonic":
        return FromFirstName(_whole_reader(native, names), "[", "(", names)
    return _Whole(native, mark, names) if mark else _Streamed(native, mark)


def _whole_reader(parser: FunctionCallParser, names: Collection[str]) -> ReadWhole:
    def read(text: str) -> tuple[str, Sequence[CallFragment]]:
        rest, items = parser.parse_non_stream(text)
        known = [item for item in items if item.name in names]
        calls = [CallFragment(at, item.name or "", _arguments(item)) for at, item in enumerate(known)]
        return (rest, calls) if calls else (text, ())

    return read


def _mark_of(parser: FunctionCallParser) -> str:
    """The text that begins a call; empty for the few formats without one."""
    names = ("_tool_calls_marker", "bot_token", "tool_call_start_token", "bot")
    for mark in (getattr(parser.detector, name, "") for name in names):
        if isinstance(mark, str) and mark:
            return mark
    try:
        return str(parser.detector.structure_info()("").trigger)
    except NotImplementedError:
        return ""


class _Stepwise:
    """Calls a parser of SGLang until it returns nothing more. It logs errors, and does not raise."""

    holds = True

    def feed(self, text: str) -> tuple[str, Sequence[CallFragment]]:
        shown: list[str] = []
        calls: list[CallFragment] = []
        for piece in self._pieces(text):
            self._steps(piece, shown, calls)
        return "".join(shown), calls

    def _pieces(self, text: str) -> list[str]:
        return [text]

    def _parse(self, text: str) -> tuple[str, Sequence[ToolCallItem]]:
        raise NotImplementedError

    def _steps(self, piece: str, shown: list[str], calls: list[CallFragment]) -> None:
        for _ in range(_MAX_STEPS):
            text, items = self._parse(piece)
            piece = ""
            shown.append(text)
            found = [item for item in items if item.name or item.parameters]
            calls.extend(map(_fragment, found))
            if not text and not found:
                return


class _Streamed(_Stepwise):
    def __init__(self, parser: FunctionCallParser, mark: str) -> None:
        self._parser = parser
        self._splitter = MarkSplitter(mark) if mark else None

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        shown: list[str] = []
        calls: list[CallFragment] = []
        for piece in self._splitter.finish() if self._splitter else []:
            self._steps(piece, shown, calls)
        text, items = self._parser.parse_stream_end()
        return "".join([*shown, text or ""]), [*calls, *map(_fragment, items)]

    def _pieces(self, text: str) -> list[str]:
        return self._splitter.feed(text) if self._splitter else [text]

    def _parse(self, text: str) -> tuple[str, Sequence[ToolCallItem]]:
        shown, items = self._parser.parse_stream_chunk(text)
        return shown, items


class _StreamedArray(_Stepwise):
    def __init__(self, rendered: Rendered) -> None:
        self._tools = rendered.tools
        self._parser = JsonArrayParser()

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        end = self._parser.finish(self._tools)
        return end.normal_text, list(map(_fragment, end.calls))

    def _parse(self, text: str) -> tuple[str, Sequence[ToolCallItem]]:
        result = self._parser.parse_streaming_increment(text, self._tools)
        return result.normal_text, result.calls


class _Whole:
    """Shows text before the first mark at once; everything after it waits for the end of the answer."""

    holds = True

    def __init__(self, parser: FunctionCallParser, mark: str, names: Collection[str]) -> None:
        self._parser = parser
        self._mark = mark
        self._names = names
        self._splitter = MarkSplitter(mark)
        self._waiting: list[str] = []
        self._is_text = False

    def feed(self, text: str) -> tuple[str, Sequence[CallFragment]]:
        return "".join(self._before_calls(self._splitter.feed(text))), ()

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        shown = self._before_calls(self._splitter.finish())
        calls: list[CallFragment] = []
        while self._waiting:
            text, items = self._first_call()
            shown.append(text)
            calls += [CallFragment(len(calls) + at, item.name or "", _arguments(item))
                      for at, item in enumerate(items)]  # fmt: skip
        return "".join(shown), calls

    def _first_call(self) -> tuple[str, Sequence[ToolCallItem]]:
        """Read the first call of the waiting text, whose arguments may contain further marks."""
        for count in range(1, len(self._waiting) + 1):
            if count > 1 and self._known(self._waiting[count - 1])[1]:
                break
            rest, items = self._known("".join(self._waiting[:count]))
            if items:
                del self._waiting[:count]
                return rest, items
        piece = self._waiting.pop(0)
        return ("" if self._breaks_off(piece) else piece), ()

    def _known(self, text: str) -> tuple[str, Sequence[ToolCallItem]]:
        rest, items = self._parser.parse_non_stream(text)
        return rest, [item for item in items if item.name in self._names]

    def _breaks_off(self, piece: str) -> bool:
        """True for a call without an end, which is dropped as in Ollama, and not shown as text."""
        if self._waiting or not piece.startswith(self._mark):
            return False
        behind = piece[len(self._mark) :]
        return any(name in behind[: len(name) + _MAX_BEFORE_NAME] for name in self._names)

    def _before_calls(self, pieces: Sequence[str]) -> list[str]:
        shown = []
        for piece in pieces:
            if piece.startswith(self._mark) or (not self._waiting and self._begins_like_a_call(piece)):
                self._waiting.append(piece)
            elif self._waiting:
                self._waiting[-1] += piece
            else:
                self._is_text = self._is_text or bool(piece.strip())
                shown.append(piece)
        return shown

    def _begins_like_a_call(self, piece: str) -> bool:
        """True if the answer begins with a call without a mark, as Llama writes some."""
        return not self._is_text and bool(piece.strip()) and self._parser.has_tool_call(piece.lstrip())


def _arguments(item: ToolCallItem) -> str:
    """The arguments as JSON; some models write the object as a string of JSON."""
    whole = str(item.parameters)
    try:
        inner: object = json.loads(whole)
    except ValueError:
        return whole
    return inner if isinstance(inner, str) and is_object(inner) else whole


def _fragment(item: ToolCallItem) -> CallFragment:
    return CallFragment(item.tool_index, item.name or "", item.parameters)
