"""What an answer is made with: the parsers that its model and its request need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.call import EngineCall
from engine_worker.engines.sglang.logprobs import Logprobs
from engine_worker.engines.sglang.output import Answer
from engine_worker.engines.sglang.prompt import Prompt
from engine_worker.engines.sglang.text import ContinuedText, EngineText, TokenTable
from engine_worker.output.base import OutputParser, PlainText
from engine_worker.output.delivered_filter import DeliveredFilter
from engine_worker.output.harmony import Harmony
from engine_worker.output.reasoning import ThinkingFirst
from engine_worker.output.stop_matcher import StopMatcher
from engine_worker.output.tool_calls import ToolCalls, new_call_id
from engine_worker.output.tool_choice import is_forced

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from engine_worker.engines.sglang.upstream.templates import Rendered, Templates

_HARMONY = "gpt-oss"


class Answers:
    def __init__(
        self, templates: Templates, vocabulary: TokenTable, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self._templates = templates
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer

    def make(self, request: pb.GenerateRequest, prompt: Prompt, asked: EngineCall) -> Answer:
        earlier = request.continuation if request.HasField("continuation") else None
        heard = DeliveredFilter(earlier) if earlier is not None else None
        rendered = prompt.rendered
        continued = ContinuedText(self._vocabulary, rendered.skip_special_tokens) if earlier else None
        return Answer(
            started=pb.Started(
                prompt_ids=prompt.fitted.ids,
                truncated_tokens=prompt.fitted.truncated_tokens,
                not_honoured=asked.not_honoured,
            ),
            parser=self._parser(request, rendered, heard, asked),
            text=continued or EngineText(self._vocabulary),
            stops=StopMatcher(asked.own_stops),
            logprobs=(
                Logprobs(self._vocabulary, request.top_logprobs) if request.HasField("top_logprobs") else None
            ),
            earlier=earlier,
            replayed=continued.of_tokens(earlier.produced_ids) if earlier and continued else "",
            filtered=heard.new_part if heard else None,
        )

    def _parser(
        self,
        request: pb.GenerateRequest,
        rendered: Rendered,
        heard: DeliveredFilter | None,
        asked: EngineCall,
    ) -> OutputParser:
        from engine_worker.engines.sglang.upstream.calls import call_parser
        from engine_worker.engines.sglang.upstream.reasoning import SglangReasoning

        parser: OutputParser = PlainText()
        calls, thinks = self._templates.tool_call_parser, self._templates.reasoning_parser
        make_id = heard.call_id if heard else new_call_id
        constrained = asked.constrained
        forced = is_forced(request.tool_choice)
        if _HARMONY in (calls, thinks) and (forced or not constrained):
            names = {tool.function.name for tool in rendered.tools if tool.function.name}
            return Harmony(
                names,
                opened=rendered.opens_thinking,
                shows_thinking=request.think.mode != pb.Think.OFF,
                make_id=make_id,
                only_calls=forced,
            )
        if asked.own_calls is not None:
            parser = asked.own_calls.parser(make_id)
        elif rendered.tools and calls:
            parser = ToolCalls(
                call_parser(calls, rendered, self._tokenizer, forced),
                _without_arguments(request.chat.tools),
                make_id,
            )
        if rendered.thinks and thinks:
            reasoning = SglangReasoning(thinks, rendered, self._tokenizer, constrained)
            parser = ThinkingFirst(reasoning, parser, shown=request.think.mode != pb.Think.OFF)
        return parser


def _without_arguments(tools: Iterable[pb.Tool]) -> list[str]:
    """Names of the functions that have no parameters."""
    return [tool.name for tool in tools if not _has_parameters(tool)]


def _has_parameters(tool: pb.Tool) -> bool:
    schema = orjson.loads(tool.parameters_json) if tool.parameters_json else {}
    return isinstance(schema, dict) and bool(schema.get("properties"))
