"""Choose the stages that the output of a request passes through, by its model and by what it asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import orjson

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.output import OutputContext
from engine_worker.engines.sglang.prompt import Prompt
from engine_worker.engines.sglang.request import EngineRequest, skips_special_tokens
from engine_worker.engines.sglang.text import ContinuedText, EngineText, Logprobs, TokenTable
from engine_worker.output.base import OutputParser, PlainText
from engine_worker.output.delivered_filter import DeliveredFilter
from engine_worker.output.harmony import Harmony
from engine_worker.output.reasoning import ThinkingFirst
from engine_worker.output.stop_matcher import StopMatcher
from engine_worker.output.tool_calls import ToolCalls, is_forced, new_call_id

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from engine_worker.engines.sglang.upstream.templates import Rendered, Templates

_HARMONY = "gpt-oss"


class OutputBuilder:
    """Builds the OutputContext of each request to one loaded model."""

    def __init__(
        self, templates: Templates, vocabulary: TokenTable, tokenizer: PreTrainedTokenizerBase
    ) -> None:
        self._templates = templates
        self._vocabulary = vocabulary
        self._tokenizer = tokenizer

    def build(
        self, request: pb.GenerateRequest, prompt: Prompt, engine_request: EngineRequest
    ) -> OutputContext:
        earlier = request.continuation if request.HasField("continuation") else None
        delivered = DeliveredFilter(earlier) if earlier is not None else None
        rendered = prompt.rendered
        skips_special = skips_special_tokens(request, rendered)
        continued = ContinuedText(self._vocabulary, skips_special) if earlier else None
        return OutputContext(
            started=pb.Started(
                prompt_ids=prompt.fitted.ids,
                truncated_tokens=prompt.fitted.truncated_tokens,
                not_honoured=engine_request.not_honoured,
            ),
            text=continued or EngineText(self._vocabulary),
            parser=self._parser(request, rendered, delivered, engine_request),
            stops=StopMatcher(engine_request.own_stops),
            delivered=delivered,
            logprobs=(
                Logprobs(self._vocabulary, request.top_logprobs) if request.HasField("top_logprobs") else None
            ),
            earlier=earlier,
            replayed=continued.of_tokens(earlier.produced_ids) if earlier and continued else "",
        )

    def _parser(
        self,
        request: pb.GenerateRequest,
        rendered: Rendered,
        delivered: DeliveredFilter | None,
        engine_request: EngineRequest,
    ) -> OutputParser:
        from engine_worker.engines.sglang.upstream.reasoning import SglangReasoning
        from engine_worker.engines.sglang.upstream.tool_call_parsers import call_parser

        parser: OutputParser = PlainText()
        tool_format, reasoning_format = self._templates.tool_call_parser, self._templates.reasoning_parser
        make_id = delivered.call_id if delivered else new_call_id
        constrained = engine_request.constrained
        forced = is_forced(request.tool_choice)
        if _HARMONY in (tool_format, reasoning_format) and (forced or not constrained):
            names = {tool.function.name for tool in rendered.tools if tool.function.name}
            return Harmony(
                names,
                opened=rendered.opens_thinking,
                shows_thinking=request.think.mode != pb.Think.OFF,
                make_id=make_id,
                only_calls=forced,
            )
        if engine_request.call_grammar is not None:
            parser = engine_request.call_grammar.parser(make_id)
        elif rendered.tools and tool_format:
            parser = ToolCalls(
                call_parser(tool_format, rendered, self._tokenizer, forced),
                _without_arguments(request.chat.tools),
                make_id,
            )
        if rendered.thinks and reasoning_format:
            reasoning = SglangReasoning(reasoning_format, rendered, self._tokenizer, constrained)
            parser = ThinkingFirst(reasoning, parser, shown=request.think.mode != pb.Think.OFF)
        return parser


def _without_arguments(tools: Iterable[pb.Tool]) -> list[str]:
    """Names of the functions that have no parameters."""
    return [tool.name for tool in tools if not _has_parameters(tool)]


def _has_parameters(tool: pb.Tool) -> bool:
    schema = orjson.loads(tool.parameters_json) if tool.parameters_json else {}
    return isinstance(schema, dict) and bool(schema.get("properties"))
