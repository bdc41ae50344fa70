"""SGLang's parsers for tool calls, behind Drover's seam.

In streams most of them expect a token at a time, and some lose calls even then (tests/upstream). A busy
stream joins tokens, and a continuation replays hundreds at once. So parsers that were seen to stream well
get their text cut where a call may begin, and are asked until they have nothing more to say; the others get
what may be calls when the answer is over, whole, which all of them read well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.function_call.json_array_parser import JsonArrayParser

from engine_worker.chat.marks import MarkSplitter
from engine_worker.chat.tool_calls import CallFragment, CallParser
from engine_worker.engines.sglang.upstream.templates import Rendered

if TYPE_CHECKING:
    from sglang.srt.function_call.core_types import ToolCallItem
    from transformers import PreTrainedTokenizerBase

# gpt-oss writes its final text behind its calls, and must not wait for it.
_STREAM_WELL = frozenset({"qwen", "qwen25", "hermes", "qwen3_coder", "gpt-oss"})
# Far more steps than a piece of text can hold.
_MOST_STEPS = 10_000


def call_parser(
    name: str, rendered: Rendered, tokenizer: PreTrainedTokenizerBase | None, forced: bool
) -> CallParser:
    """`forced`: a grammar makes the calls."""
    assert rendered.request is not None
    choice = rendered.request.tool_choice if forced else None
    native = FunctionCallParser(rendered.tools, name, tokenizer=tokenizer, tool_choice=choice)
    if forced and not native.owns_tool_format():
        # Forced calls of a model without a grammar for its own format are a JSON array.
        return _StreamedArray(rendered)
    mark = _mark_of(native)
    if mark and name not in _STREAM_WELL:
        return _AtTheEnd(native, mark)
    return _Streamed(native, mark)


def _mark_of(parser: FunctionCallParser) -> str:
    """What begins a call; empty for the few formats that have no such mark."""
    names = ("_tool_calls_marker", "bot_token", "tool_call_start_token", "bot")
    for mark in (getattr(parser.detector, name, "") for name in names):
        if isinstance(mark, str) and mark:
            return mark
    try:
        return str(parser.detector.structure_info()("").trigger)
    except NotImplementedError:
        return ""


class _Stepwise:
    """Asks for one step after the other. Raises nothing: SGLang's parsers log what they cannot read."""

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
        for _ in range(_MOST_STEPS):
            text, items = self._parse(piece)
            piece = ""
            shown.append(text)
            said = [item for item in items if item.name or item.parameters]
            calls.extend(map(_fragment, said))
            if not text and not said:
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


class _AtTheEnd:
    """Text before the first mark is shown as it comes; all from there on waits for the end."""

    holds = True

    def __init__(self, parser: FunctionCallParser, mark: str) -> None:
        self._parser = parser
        self._mark = mark
        self._splitter = MarkSplitter(mark)
        self._waiting: list[str] = []
        self._is_text = False

    def feed(self, text: str) -> tuple[str, Sequence[CallFragment]]:
        return "".join(self._before_calls(self._splitter.feed(text))), ()

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        shown = "".join(self._before_calls(self._splitter.finish()))
        if not self._waiting:
            return shown, ()
        waiting = "".join(self._waiting)
        rest, items = self._parser.parse_non_stream(waiting)
        if not items:
            # Behind a mark, calls that broke off are nobody's text (recorded case "#brokentool"); an answer
            # that only began like JSON is the answer.
            return (shown if waiting.startswith(self._mark) else shown + waiting), ()
        return shown + rest, list(map(_fragment, items))

    def _before_calls(self, pieces: Sequence[str]) -> list[str]:
        shown = []
        for piece in pieces:
            if self._waiting or piece.startswith(self._mark) or self._begins_like_a_call(piece):
                self._waiting.append(piece)
            else:
                self._is_text = self._is_text or bool(piece.strip())
                shown.append(piece)
        return shown

    def _begins_like_a_call(self, piece: str) -> bool:
        """Llama writes calls without a mark too, where they are the whole answer."""
        return not self._is_text and bool(piece.strip()) and self._parser.has_tool_call(piece.lstrip())


def _fragment(item: ToolCallItem) -> CallFragment:
    return CallFragment(item.tool_index, item.name or "", item.parameters)
