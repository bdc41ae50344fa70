"""SGLang's parsers for thinking, behind Drover's interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sglang.srt.parser.reasoning_parser import ReasoningParser

from engine_worker.engines.sglang.upstream.templates import Rendered

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class SglangReasoning:
    """A ReasoningParser (engine_worker.output). `constrained`: a grammar makes the answer."""

    def __init__(
        self, name: str, rendered: Rendered, tokenizer: PreTrainedTokenizerBase | None, constrained: bool
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
        # Some of its detectors think regardless of their arguments.
        self._parser.detector._in_reasoning = rendered.opens_thinking or constrained
        if not rendered.tools:
            # Where no tools were offered, what looks like a call is text.
            self._parser.detector.tool_start_token = None

    @property
    def holds(self) -> bool:
        return bool(getattr(self._parser.detector, "_buffer", ""))

    def feed(self, text: str) -> tuple[str, str]:
        thinking, content = self._parser.parse_stream_chunk(text)
        return thinking or "", content or ""

    def finish(self) -> tuple[str, str]:
        thinking, content = self._parser.parse_stream_end()
        return thinking or "", content or ""
