"""Builds a DroverParsedAnswer: its grammar, and the parser that finds thinking and calls in its text.

Used where llama.cpp's own parser cannot be: for forced calls, for formats together with thinking or tools,
and for prompts that a Go template renders (llama.cpp parses only answers to its own rendering). The markup
that a Go template writes around thinking and calls is learned by rendering samples with it.
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
from engine_worker.engines.llamacpp.answer_grammar import GrammarSyntax, ThinkingMarkup
from engine_worker.engines.llamacpp.answer_modes import DroverParsedAnswer
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.output.base import OutputParser, PlainText
from engine_worker.output.call_markup import BARE_LIST, NO_TAG_FOR_FORMAT, CallMarkup, learn_call_markup
from engine_worker.output.json_calls import JsonCalls
from engine_worker.output.reasoning import ThinkingFirst
from engine_worker.output.tagged_reasoning import TaggedThinking
from engine_worker.output.tool_calls import ToolCalls, chosen_tools, is_forced, may_call_several
from engine_worker.prompt.go_prompt import GoPrompt
from engine_worker.schemas.call_grammar import Function, calls_grammar, functions_of
from engine_worker.schemas.constraint import Constraint
from engine_worker.schemas.free_answers import rules_of_inputs
from engine_worker.schemas.schema_to_grammar import Grammar

# Without a tag in free text, an answer is either all calls or has none.
_NO_TAG = CallMarkup("", "", "")
_USUAL_TAGS = ("<think>", "</think>")


def drover_parsed_answer(
    request: pb.GenerateRequest,
    template: ChatTemplate,
    functions: Sequence[Function],
    constraint: Constraint | None,
    may_think: bool,
    answer_start: pb.Message | None,
) -> DroverParsedAnswer:
    """`functions`: those that may be called. A forced call is the whole answer; otherwise the answer is a
    call or what `constraint` asks for, or, without a constraint, free text with calls, which a grammar makes
    where `inputs_of` has one.

    Raises CapabilityMissing if the model's calls look like a format's JSON, ConstraintRejected if
    the grammar is too large.
    """
    forced = bool(functions) and is_forced(request.tool_choice)
    answer = None if forced or constraint is None else constraint.grammar
    thinking = _thinking_markup(template, answer_start) if may_think else None
    parser: OutputParser = PlainText()
    grammar, tag = answer, ""
    if functions:
        is_free = answer is None and not forced
        markup = _NO_TAG if is_free and template.call_markup is None else _markup(template, forced)
        names = {function.name for function in functions}
        inputs = inputs_of(request, template, functions) if is_free else None
        certain = not is_free or inputs is not None
        calls = JsonCalls(markup.tag, markup.closing, names, only_calls=forced, certain=certain)
        parser = ToolCalls(calls)
        if inputs is not None:
            grammar, tag = inputs, markup.tag
        elif not is_free:
            grammar = calls_grammar(functions, markup, may_call_several(request.tool_choice), answer)
    if thinking is not None:
        tags = TaggedThinking(thinking.opening, thinking.closing, thinking.opened)
        parser = ThinkingFirst(tags, parser, shown=request.think.mode != pb.Think.OFF)
    return DroverParsedAnswer(
        "" if grammar is None else template.syntax.written(grammar, thinking, tag), parser
    )


def inputs_of(
    request: pb.GenerateRequest, template: ChatTemplate, functions: Sequence[Function]
) -> Grammar | None:
    """The rules of free text and of calls, if a custom tool has a grammar that can be enforced here."""
    markup = template.call_markup
    if markup is None or not markup.is_own or template.syntax.is_gbnf:
        return None
    return rules_of_inputs(functions, markup, markup.tag, may_call_several(request.tool_choice))


async def go_template_answer(
    prompt: GoPrompt, constraint: Constraint | None, syntax: GrammarSyntax
) -> DroverParsedAnswer | None:
    """The answer to a prompt that a Go template renders; None if it has neither thinking nor calls to parse.

    Raises what `drover_parsed_answer` raises, and ConstraintRejected for tools.
    """
    request, template = prompt.request, prompt.template
    is_insert = request.prompt.HasField("suffix")
    tools, thinks = request.chat.tools, template.uses("thinking") and not is_insert
    if not tools and not thinks:
        return None
    tags = await thinking_tags_aside(template)
    opening, closing = tags or _USUAL_TAGS
    chat = ChatTemplate(
        tools=bool(tools),
        thinking=thinks,
        before_thinking=opening,
        after_thinking=closing,
        opens_thinking=thinks and (await prompt.text()).rstrip().endswith(opening),
        call_markup=await _learn_call_markup(template) if tools else None,
        syntax=syntax,
    )
    functions = await asyncio.to_thread(functions_of, tools)
    return drover_parsed_answer(request, chat, functions, constraint, thinks, _answer_start(request))


def with_chosen_tools(prompt: GoPrompt) -> GoPrompt:
    """The prompt with only those tools that the tool choice allows.

    Raises CapabilityMissing for templates without tools, and InvalidRequest if the tool choice names a tool
    that is not offered.
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


def _markup(template: ChatTemplate, forced: bool) -> CallMarkup:
    if template.call_markup is not None:
        return template.call_markup
    if forced:
        return BARE_LIST
    raise CapabilityMissing(NO_TAG_FOR_FORMAT)


def _thinking_markup(template: ChatTemplate, answer_start: pb.Message | None) -> ThinkingMarkup | None:
    """None if the answer's start has ended the thinking already, or the markup is not known."""
    opening, closing = template.before_thinking.strip(), template.after_thinking.strip()
    if not closing or (answer_start is not None and answer_start.content):
        return None
    opened = template.opens_thinking or (answer_start is not None and bool(answer_start.thinking))
    return ThinkingMarkup(opening, closing, opened) if opened or opening else None


def _answer_start(request: pb.GenerateRequest) -> pb.Message | None:
    messages = request.chat.messages
    return messages[-1] if request.chat.continue_last and messages else None


async def _learn_call_markup(template: Template) -> CallMarkup | None:
    async def render(messages: Sequence[pb.Message], tools: Sequence[pb.Tool]) -> str:
        try:
            return await asyncio.to_thread(template.render_chat, messages, tools)
        except TemplateError as error:
            raise InvalidRequest(error.message) from error

    return await learn_call_markup(render)
