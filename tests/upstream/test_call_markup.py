"""What is learnt of templates when a worker starts. Runs in SGLang's environment, without an engine."""

from __future__ import annotations

from collections.abc import Sequence

from drover.v1 import engine_pb2 as pb
from engine_worker.chat.arrangements import TemplateRefusal
from engine_worker.chat.call_markup import CallMarkup
from engine_worker.engines.sglang.upstream.templates import Rendered, Templates, Turn


class _OneCallOnly(Templates):
    """Of a model whose template raises at two calls, or at any."""

    tool_call_parser = "llama3"

    def __init__(self, most: int) -> None:
        self._most = most

    def render(
        self, messages: Sequence[pb.Message], turn: Turn, prompt_ids: Sequence[int] | None = None
    ) -> Rendered:
        calls = messages[1].tool_calls
        if len(calls) > self._most:
            raise TemplateRefusal("This model only supports single tool-calls at once!")
        called = f'<call>{{"name": "{calls[0].name}", "arguments": {calls[0].arguments_json}}}</call>'
        return Rendered([], f"{messages[0].content}{messages[1].content}{called}{messages[2].content}")


def test_a_template_that_takes_one_call_at_a_time() -> None:
    assert _OneCallOnly(1).call_markup() == CallMarkup("<call>\n", "\n</call>\n<call>\n", "\n</call>")


def test_a_template_that_refuses_calls() -> None:
    assert _OneCallOnly(0).call_markup() is None
