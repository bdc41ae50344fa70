"""SGLang's parsers for thinking and tool calls, behind Drover's seams.

Its streaming tool parsers expect a token at a time: of a longer piece they lose the text before a call, and
give at most one step of one call. A busy stream joins tokens, and a continuation replays hundreds at once; so
here text is cut where a call may begin, and the parser is asked until it has nothing more to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sglang.srt.function_call.function_call_parser import FunctionCallParser
from sglang.srt.function_call.json_array_parser import JsonArrayParser
from sglang.srt.parser.reasoning_parser import ReasoningParser

from engine_worker.chat.marks import MarkSplitter
from engine_worker.chat.tool_calls import CallFragment
from engine_worker.engines.sglang.upstream.templates import Rendered

if TYPE_CHECKING:
    from sglang.srt.function_call.core_types import ToolCallItem
    from transformers import PreTrainedTokenizerBase

# Far more steps than a piece of text can hold.
_MOST_STEPS = 10_000


class SglangReasoning:
    """Implements chat.thinking.ReasoningParser."""

    def __init__(
        self, name: str, rendered: Rendered, tokenizer: PreTrainedTokenizerBase, constrained: bool
    ) -> None:
        # SGLang takes all for thinking where a request allows it, tags or none. A prompt that ends within a
        # thinking block is the sure sign, and without it a model that answers at once has not thought; but
        # a grammar waits for the end of thinking in any case.
        self._parser = ReasoningParser(
            name,
            stream_reasoning=True,
            force_reasoning=rendered.opens_thinking or constrained,
            request=rendered.request,
            tokenizer=tokenizer,
            tool_call_parser_active=bool(rendered.tools),
        )
        if not rendered.tools:
            # Where no tools were offered, what looks like a call is text.
            self._parser.detector.tool_start_token = None

    def feed(self, text: str) -> tuple[str, str]:
        thinking, content = self._parser.parse_stream_chunk(text)
        return thinking or "", content or ""

    def finish(self) -> tuple[str, str]:
        thinking, content = self._parser.parse_stream_end()
        return thinking or "", content or ""


class SglangCalls:
    """Implements chat.tool_calls.CallParser. `forced`: a grammar makes the calls."""

    def __init__(
        self, name: str, rendered: Rendered, tokenizer: PreTrainedTokenizerBase, forced: bool
    ) -> None:
        assert rendered.request is not None
        self._tools = rendered.tools
        choice = rendered.request.tool_choice if forced else None
        native = FunctionCallParser(self._tools, name, tokenizer=tokenizer, tool_choice=choice)
        # Forced calls of a model without a grammar for its own format are a JSON array.
        self._array = JsonArrayParser() if forced and not native.owns_tool_format() else None
        self._native = native
        mark = "" if self._array else getattr(native.detector, "bot_token", "")
        self._splitter = MarkSplitter(mark) if mark else None

    @property
    def holds(self) -> bool:
        """Arguments come out behind the text they are made from."""
        return True

    def feed(self, text: str) -> tuple[str, Sequence[CallFragment]]:
        """Raises nothing: SGLang's parsers log what they cannot read."""
        shown: list[str] = []
        calls: list[CallFragment] = []
        for piece in self._splitter.feed(text) if self._splitter else [text]:
            self._step(piece, shown, calls)
        return "".join(shown), calls

    def finish(self) -> tuple[str, Sequence[CallFragment]]:
        shown: list[str] = []
        calls: list[CallFragment] = []
        for piece in self._splitter.finish() if self._splitter else []:
            self._step(piece, shown, calls)
        if self._array is not None:
            end = self._array.finish(self._tools)
            last_text, last_calls = end.normal_text, end.calls
        else:
            last_text, last_calls = self._native.parse_stream_end()
        return "".join(shown) + (last_text or ""), [*calls, *map(_fragment, last_calls)]

    def _step(self, piece: str, shown: list[str], calls: list[CallFragment]) -> None:
        for _ in range(_MOST_STEPS):
            text, items = self._parse(piece)
            piece = ""
            shown.append(text)
            said = [item for item in items if item.name or item.parameters]
            calls.extend(map(_fragment, said))
            if not text and not said:
                return

    def _parse(self, text: str) -> tuple[str, Sequence[ToolCallItem]]:
        if self._array is None:
            shown, items = self._native.parse_stream_chunk(text)
            return shown, items
        result = self._array.parse_streaming_increment(text, self._tools)
        return result.normal_text, result.calls


def _fragment(item: ToolCallItem) -> CallFragment:
    return CallFragment(item.tool_index, item.name or "", item.parameters)
