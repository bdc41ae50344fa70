"""Chat templates: what is learnt of them at start, and what becomes of their failures.

Runs in SGLang's environment, without an engine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace

import pytest
from sglang.srt.entrypoints.openai.encoding_dsv32 import DS32EncodingError
from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat
from sglang.srt.parser.template_detection import ReasoningToggleConfig

from drover.thinking import to_json
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.upstream.templates import Rendered, Templates, Turn
from engine_worker.output.call_markup import CallMarkup
from engine_worker.prompt.arrangements import TemplateRefusal


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


class _Rendering(Templates):
    """Over a layer of SGLang's that makes one prompt, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        def process(request: ChatCompletionRequest, is_multimodal: bool) -> SimpleNamespace:
            if error is not None:
                raise error
            return SimpleNamespace(
                prompt_ids=[1],
                prompt="asks",
                image_data=None,
                stop=None,
                tool_call_constraint=None,
                require_reasoning=False,
                skip_special_tokens=not request.tools,
            )

        self._serving = SimpleNamespace(
            _process_messages=process, _reasoning_detector=None, reasoning_parser=None, is_gpt_oss=False
        )
        self._manager = SimpleNamespace(model_config=SimpleNamespace(is_multimodal=False))


ASKS = [pb.Message(role="user", content="asks")]


@pytest.mark.parametrize("unlisted", [False, True])
def test_special_tokens_of_calls_are_not_skipped(unlisted: bool) -> None:
    tool = pb.Tool(name="f", parameters_json="{}", unlisted=unlisted)
    rendered = _Rendering().render(ASKS, Turn(tools=[tool]))

    assert not rendered.skip_special_tokens
    assert [each.function.name for each in rendered.tools] == ["f"]
    assert _Rendering().render(ASKS, Turn()).skip_special_tokens


@pytest.mark.parametrize(
    "error", [AssertionError("no"), AttributeError("no"), IndexError("no"), DS32EncodingError("no")]
)
def test_a_template_that_fails_refuses(error: Exception) -> None:
    with pytest.raises(TemplateRefusal):
        _Rendering(error).render(ASKS, Turn())


class _Thinking(Templates):
    """Over SGLang's own switch, of a model with this parser and this switch in its template."""

    def __init__(self, config: ReasoningToggleConfig, source: str = "", *, is_gpt_oss: bool = False) -> None:
        serving = OpenAIServingChat.__new__(OpenAIServingChat)
        serving.reasoning_parser, serving.is_gpt_oss = "qwen3", is_gpt_oss
        serving.template_manager = SimpleNamespace(reasoning_config=config)
        self._serving = serving
        self._manager = SimpleNamespace(tokenizer=SimpleNamespace(chat_template=source))


_SWITCH = ReasoningToggleConfig(toggle_param="enable_thinking", default_enabled=True)


@pytest.mark.parametrize(
    ("templates", "values"),
    [
        (_Thinking(_SWITCH), [False, True]),
        (_Thinking(ReasoningToggleConfig(special_case="always")), [True]),
        (_Thinking(ReasoningToggleConfig(special_case="mistral")), None),
        (_Thinking(ReasoningToggleConfig()), None),
        (_Thinking(_SWITCH, "{{ reasoning_effort }}"), None),
        (_Thinking(replace(_SWITCH, effort_kwarg="thinking_effort")), None),
        (_Thinking(_SWITCH, is_gpt_oss=True), ["low", "medium", "high"]),
    ],
)
def test_the_values_of_think(templates: Templates, values: list[object] | None) -> None:
    thinking = templates.thinking
    assert (None if thinking is None else to_json(thinking)["values"]) == values
