"""How a chat is rendered by the model's template, and who parses its answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drover.errors import CapabilityMissing
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_modes import AnswerMode, PlainAnswer, ServerParsedAnswer
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.engines.llamacpp.drover_parsed import drover_parsed_answer, inputs_of
from engine_worker.engines.llamacpp.messages import messages_json, shown_tools, tools_json
from engine_worker.engines.llamacpp.template import ChatTemplate, enable_thinking
from engine_worker.output.tool_calls import chosen_tools, is_forced
from engine_worker.prompt.arrangements import Arrange, as_sent
from engine_worker.prompt.template_arguments import template_arguments
from engine_worker.schemas.call_grammar import functions_of
from engine_worker.schemas.constraint import Constraint, named_of_tools
from engine_worker.schemas.custom_input import not_enforced

_PLAIN = PlainAnswer()
# gpt-oss, the only model whose template takes an effort, knows no "max".
_EFFORTS = {"max": "high"}


@dataclass(frozen=True, slots=True)
class ChatPlan:
    """`options`: members of the body to llama-server other than the messages. `answer`: how the answer is
    generated and parsed. `not_honoured`: what the request asks for and does not get. `arrange`: turns the
    messages into a sequence that the template accepts.
    """

    options: JsonObject = field(default_factory=dict)
    answer: AnswerMode = _PLAIN
    not_honoured: Sequence[str] = ()
    arrange: Arrange = as_sent

    def body(self, messages: Sequence[pb.Message]) -> JsonObject:
        return {**self.options, "messages": messages_json(self.arrange(messages))}

    def without_server_parser(self, template: ChatTemplate) -> ChatPlan:
        """The plan for a prompt that llama.cpp gets as token ids, whose answer it does not parse.

        Raises CapabilityMissing for models whose thinking cannot be switched off.
        """
        if not isinstance(self.answer, ServerParsedAnswer):
            return self
        if not template.can_stop_thinking:
            raise CapabilityMissing(
                "this model always thinks, and after a `context` llama.cpp cannot tell its thinking from its "
                "answer; send the earlier exchange as messages of a chat"
            )
        own = self.options.get("chat_template_kwargs")
        quiet = enable_thinking(False)["chat_template_kwargs"]
        assert isinstance(quiet, dict)
        kwargs = {**own, **quiet} if isinstance(own, dict) else quiet
        return ChatPlan({**self.options, "chat_template_kwargs": kwargs})


def plan_chat(
    request: pb.GenerateRequest,
    template: ChatTemplate,
    answer_start: pb.Message | None = None,
    constraint: Constraint | None = None,
) -> ChatPlan:
    """Choose template options and answer mode. `answer_start`: the assistant's message that the answer
    continues. Blocks the thread while the grammars of large tool schemas are made.

    Raises CapabilityMissing for what the template does not support, InvalidRequest and ConstraintRejected for
    tools that cannot be offered, and what `drover_parsed_answer` raises.
    """
    think, tools = request.think, chosen_tools(request.chat.tools, request.tool_choice)
    if tools and not template.tools:
        raise CapabilityMissing("this model does not support tools")
    if think.mode == pb.Think.ON and not template.thinking:
        raise CapabilityMissing("this model does not support thinking")
    functions = functions_of(tools)
    options: JsonObject = {
        "add_generation_prompt": answer_start is None and not request.chat.no_generation_prompt,
        **(tools_json(functions, request.tool_choice) if functions else {}),
        **_template_arguments(request, template, tools),
    }
    may_think = template.thinking and not (think.mode == pb.Think.OFF and template.can_stop_thinking)
    has_markup = bool(tools) or may_think
    is_forced_call = bool(tools) and is_forced(request.tool_choice)
    if not has_markup:
        return ChatPlan(options, PlainAnswer("" if constraint is None else constraint.text))
    enforces_inputs = answer_start is None and inputs_of(request, template, functions) is not None
    if constraint is None and not is_forced_call and not enforces_inputs:
        options["reasoning_format"] = "deepseek"
        parsed = ServerParsedAnswer(shows_thinking=think.mode != pb.Think.OFF)
        return ChatPlan(options, parsed, not_honoured=not_enforced(tools))
    if constraint is not None and not is_forced_call and answer_start is not None and answer_start.content:
        # As in Ollama the format holds for the new text only.
        return ChatPlan(options, PlainAnswer(constraint.text), not_honoured=["tools"] if tools else [])
    answer = drover_parsed_answer(request, template, functions, constraint, may_think, answer_start)
    return ChatPlan(options, answer, not_honoured=named_of_tools(each.arguments for each in functions))


def _template_arguments(
    request: pb.GenerateRequest, template: ChatTemplate, tools: Sequence[pb.Tool]
) -> JsonObject:
    """Arguments of the Jinja template: the request's, overridden by what its other fields say. They include
    the tools: what the template shows of a tool differs from the schema that the grammar of calls is made of.
    """
    think = request.think
    listed = [tool for tool in tools if not tool.unlisted]
    arguments: JsonObject = {
        **template_arguments(request),
        **({"tools": shown_tools(listed)} if tools else {}),
    }
    if template.thinking and think.mode != pb.Think.UNSET:
        arguments["enable_thinking"] = think.mode == pb.Think.ON
    if template.takes_effort and think.level:
        arguments["reasoning_effort"] = _EFFORTS.get(think.level, think.level)
    return {"chat_template_kwargs": arguments} if arguments else {}
