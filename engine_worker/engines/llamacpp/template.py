"""What the model's chat template is able to, as far as llama.cpp can make use of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from drover.errors import InvalidRequest
from engine_worker.chat.arrangements import TemplateRefusal
from engine_worker.engines.llamacpp.api import Json

# Any texts do that no template has in it.
_QUESTION, _REASONING, _ANSWER = "drover-asks", "drover-thinks", "drover-answers"
_USER: Json = {"role": "user", "content": _QUESTION}
_THINKING_ASSISTANT: Json = {"role": "assistant", "reasoning_content": _REASONING, "content": _ANSWER}


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """`can_stop_thinking`: there is a prompt (`enable_thinking` false) after which the model does not think.

    `before_thinking`, `after_thinking`: the markup that the model writes around its thinking.
    """

    tools: bool = False
    thinking: bool = False
    can_stop_thinking: bool = False
    takes_effort: bool = False
    before_thinking: str = ""
    after_thinking: str = ""


class Renderer(Protocol):
    """The part of LlamaApi that knows the template."""

    async def template_abilities(self) -> Mapping[str, bool]: ...

    async def apply_template(self, turn: Json) -> str: ...


async def read_template(api: Renderer) -> ChatTemplate:
    """Tools: llama.cpp's own finding. Thinking: whether llama.cpp, asked to continue an assistant's message,
    puts that message's reasoning into the prompt; it does so exactly when it knows the markup, from the
    template or from the beginning of an answer that the template makes.
    """
    abilities = await api.template_abilities()
    template = ChatTemplate(tools=abilities["supports_tools"] and abilities["supports_tool_calls"])
    try:
        prompt = await api.apply_template({"messages": [_USER]})
        quiet_prompt = await api.apply_template({"messages": [_USER], **enable_thinking(False)})
        continued = await api.apply_template({"messages": [_USER, _THINKING_ASSISTANT]})
    except (InvalidRequest, TemplateRefusal):
        # The template refuses such conversations.
        return template
    before, reasoning, after = continued.partition(_REASONING)
    if not reasoning:
        return template
    return ChatTemplate(
        tools=template.tools,
        thinking=True,
        can_stop_thinking=prompt != quiet_prompt,
        takes_effort=abilities["supports_reasoning_effort"],
        before_thinking=before.removeprefix(prompt) if before.startswith(prompt) else "",
        after_thinking=after.partition(_ANSWER)[0],
    )


def enable_thinking(enabled: bool) -> Json:
    return {"chat_template_kwargs": {"enable_thinking": enabled}}
