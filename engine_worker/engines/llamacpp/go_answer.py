"""Thinking and calls in answers to prompts that a Go template made.

llama.cpp parses answers to its own rendering only. So what a template writes around thinking and calls is
found out by letting it write some, and our parsers look for that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from drover.errors import CapabilityMissing, InvalidRequest
from drover.go_template.errors import TemplateError
from drover.go_template.parse_async import thinking_tags_aside
from drover.go_template.template import Template
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_grammar import Syntax
from engine_worker.engines.llamacpp.own_answer import OwnAnswer, own_answer
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.output.call_markup import CallMarkup, learn_call_markup
from engine_worker.output.tool_calls import chosen_tools
from engine_worker.prompt.go_prompt import GoPrompt
from engine_worker.schemas.constraint import Constraint
from engine_worker.schemas.functions import functions_of

_USUAL_TAGS = ("<think>", "</think>")


def with_chosen_tools(prompt: GoPrompt) -> GoPrompt:
    """A prompt that shows only what may be called. Raises CapabilityMissing for templates without tools, and
    InvalidRequest for a choice that no tool is there for.
    """
    request = prompt.request
    tools = chosen_tools(request.chat.tools, request.tool_choice)
    if tools and not prompt.template.uses("tools"):
        raise CapabilityMissing("this model does not support tools: its template does not mention .Tools")
    if len(tools) == len(request.chat.tools):
        return prompt
    shown = pb.GenerateRequest()
    shown.CopyFrom(request)
    del shown.chat.tools[:]
    shown.chat.tools.extend(tools)
    return replace(prompt, request=shown)


async def go_answer(prompt: GoPrompt, constraint: Constraint | None, syntax: Syntax) -> OwnAnswer | None:
    """None: the answer is plain text, which the constraint alone holds for. Raises what `own_answer` raises,
    ConstraintRejected for tools too.
    """
    request, template = prompt.request, prompt.template
    is_gap = request.prompt.HasField("suffix")
    tools, thinks = request.chat.tools, template.uses("thinking") and not is_gap
    if not tools and not thinks:
        return None
    begun = _begun(request)
    tags = await thinking_tags_aside(template)
    opening, closing = tags or _USUAL_TAGS
    chat = ChatTemplate(
        tools=bool(tools),
        thinking=thinks,
        before_thinking=opening,
        after_thinking=closing,
        opens_thinking=thinks and (await prompt.text()).rstrip().endswith(opening),
        call_markup=await _call_markup(template) if tools else None,
        syntax=syntax,
    )
    functions = await asyncio.to_thread(functions_of, tools)
    return own_answer(request, chat, functions, constraint, thinks, begun)


def _begun(request: pb.GenerateRequest) -> pb.Message | None:
    messages = request.chat.messages
    return messages[-1] if request.chat.continue_last and messages else None


async def _call_markup(template: Template) -> CallMarkup | None:
    async def render(messages: Sequence[pb.Message], tools: Sequence[pb.Tool]) -> str:
        try:
            return await asyncio.to_thread(template.render_chat, messages, tools)
        except TemplateError as error:
            raise InvalidRequest(error.message) from error

    return await learn_call_markup(render)
