"""Capabilities of the model's chat template, found by rendering sample conversations with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from drover.errors import InvalidRequest
from drover.thinking import always_on, gpt_oss_levels, on_or_off
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_grammar import GrammarSyntax
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.engines.llamacpp.messages import definition, message_json
from engine_worker.output.call_markup import CallMarkup, learn_call_markup
from engine_worker.prompt.arrangements import TemplateRefusal

_GPT_OSS = ("gpt-oss", "gptoss")
# Sample texts that no template contains.
_QUESTION, _REASONING, _ANSWER = "drover-asks", "drover-thinks", "drover-answers"
_USER: JsonObject = {"role": "user", "content": _QUESTION}
_THINKING_ASSISTANT: JsonObject = {"role": "assistant", "reasoning_content": _REASONING, "content": _ANSWER}


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """`can_stop_thinking`: `enable_thinking` false changes the prompt, so the model does not think.
    `takes_effort`: the template has a `reasoning_effort`.

    `before_thinking`, `after_thinking`: markup that the model writes around its thinking; `opens_thinking`:
    the prompt ends inside it. `call_markup`: markup around the JSON of calls; None if it has no tag.
    `syntax`: the grammar language for this model.
    """

    tools: bool = False
    thinking: bool = False
    can_stop_thinking: bool = False
    takes_effort: bool = False
    before_thinking: str = ""
    after_thinking: str = ""
    opens_thinking: bool = False
    call_markup: CallMarkup | None = None
    syntax: GrammarSyntax = field(default_factory=GrammarSyntax)

    def thinking_values(self, family: str) -> pb.Thinking | None:
        """The values of `think` that the template tells apart; None where it cannot think, or has levels
        whose names are not known. `family`: the GGUF's architecture.
        """
        if not self.thinking:
            return None
        if self.takes_effort:
            return gpt_oss_levels() if family in _GPT_OSS else None
        return on_or_off() if self.can_stop_thinking else always_on()


class Renderer(Protocol):
    """The part of LlamaApi that concerns the template."""

    async def template_abilities(self) -> Mapping[str, bool]: ...

    async def end_token(self) -> int | None: ...

    async def apply_template(self, turn: JsonObject) -> str: ...


async def read_template(api: Renderer, adds_space: bool = False) -> ChatTemplate:
    """Find what the template supports. `adds_space`: as in Vocabulary.

    Tools: as llama.cpp reports. Thinking: asked to continue an assistant's message, llama.cpp puts the
    message's reasoning into the prompt exactly if it knows the markup, which it takes from the template or
    from the beginning of an answer that the template writes.
    """
    abilities = await api.template_abilities()
    template = ChatTemplate(
        tools=abilities["supports_tools"] and abilities["supports_tool_calls"],
        syntax=GrammarSyntax(await api.end_token(), is_gbnf=adds_space),
    )
    if template.tools:
        template = replace(template, call_markup=await _call_markup(api))
    try:
        prompt = await api.apply_template({"messages": [_USER]})
        quiet_prompt = await api.apply_template({"messages": [_USER], **enable_thinking(False)})
        continued = await api.apply_template({"messages": [_USER, _THINKING_ASSISTANT]})
    except (InvalidRequest, TemplateRefusal):
        # The template does not accept these conversations.
        return template
    before, reasoning, after = continued.partition(_REASONING)
    if not reasoning:
        return template
    return replace(
        template,
        thinking=True,
        can_stop_thinking=prompt != quiet_prompt,
        takes_effort=abilities["supports_reasoning_effort"],
        before_thinking=before.removeprefix(prompt) if before.startswith(prompt) else "",
        after_thinking=after.partition(_ANSWER)[0],
        opens_thinking=before == prompt,
    )


async def _call_markup(api: Renderer) -> CallMarkup | None:
    async def render(messages: Sequence[pb.Message], tools: Sequence[pb.Tool]) -> str:
        body: JsonObject = {
            "messages": [message_json(message) for message in messages],
            "tools": [definition(tool, {}) for tool in tools],
            "add_generation_prompt": False,
        }
        try:
            return await api.apply_template(body)
        except TemplateRefusal as refusal:
            raise InvalidRequest(str(refusal)) from refusal

    return await learn_call_markup(render)


def enable_thinking(enabled: bool) -> JsonObject:
    return {"chat_template_kwargs": {"enable_thinking": enabled}}
