"""What a request asks of the chat template, and whether llama.cpp is to parse the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from drover.errors import CapabilityMissing
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import Json
from engine_worker.engines.llamacpp.messages import messages_json
from engine_worker.engines.llamacpp.own_answer import OwnAnswer, own_answer
from engine_worker.engines.llamacpp.template import ChatTemplate, enable_thinking
from engine_worker.engines.llamacpp.tools import shown_tools, tools_json
from engine_worker.output.tool_calls import chosen_tools, is_forced
from engine_worker.prompt.arrangements import Arrange, as_sent
from engine_worker.schemas.constraint import Constraint, named_of_tools
from engine_worker.schemas.functions import functions_of

# gpt-oss, the model whose template takes an effort, has no more.
_EFFORTS = {"max": "high"}


@dataclass(frozen=True, slots=True)
class Turn:
    """`options`: the members of a body without its messages. `is_parsed`: by llama.cpp. `own`: the answer has
    a grammar and parsers of ours. `shows_thinking` False: it is dropped. `not_honoured`: what the request
    asks for and does not get. `arrange`: makes of the messages what the template accepts.
    """

    options: Json = field(default_factory=dict)
    is_parsed: bool = False
    shows_thinking: bool = True
    not_honoured: Sequence[str] = ()
    arrange: Arrange = as_sent
    own: OwnAnswer | None = None

    def body(self, messages: Sequence[pb.Message]) -> Json:
        return {**self.options, "messages": messages_json(self.arrange(messages))}

    def without_parser(self, template: ChatTemplate) -> Turn:
        """Raises CapabilityMissing for models that think whatever they are told."""
        if not self.is_parsed:
            return self
        if not template.can_stop_thinking:
            raise CapabilityMissing(
                "this model always thinks, and after a `context` llama.cpp cannot tell its thinking from its "
                "answer; send the earlier exchange as messages of a chat"
            )
        return Turn({**self.options, **enable_thinking(False)})


def turn_of(
    request: pb.GenerateRequest,
    template: ChatTemplate,
    begun: pb.Message | None = None,
    constraint: Constraint | None = None,
) -> Turn:
    """`begun`: the answer's beginning. Blocks where tools have large schemas.

    Raises CapabilityMissing for what the template does not have, InvalidRequest and ConstraintRejected for
    tools that cannot be offered, and what `own_answer` raises.
    """
    think, tools = request.think, chosen_tools(request.chat.tools, request.tool_choice)
    if tools and not template.tools:
        raise CapabilityMissing("this model does not support tools")
    if think.mode == pb.Think.ON and not template.thinking:
        raise CapabilityMissing("this model does not support thinking")
    functions = functions_of(tools)
    options: Json = {
        "add_generation_prompt": begun is None,
        **(tools_json(functions, request.tool_choice) if functions else {}),
        **_template_arguments(think, template, tools),
    }
    may_think = template.thinking and not (think.mode == pb.Think.OFF and template.can_stop_thinking)
    is_parsed = bool(tools) or may_think
    is_forced_call = bool(tools) and is_forced(request.tool_choice)
    is_constrained = is_parsed and constraint is not None
    if is_constrained and not is_forced_call and begun is not None and begun.content:
        # As in Ollama it holds for what is new.
        return Turn(options, not_honoured=["tools"] if tools else [])
    if is_forced_call or is_constrained:
        own = own_answer(request, template, functions, constraint, may_think, begun)
        return Turn(options, own=own, not_honoured=named_of_tools(each.arguments for each in functions))
    if is_parsed:
        options["reasoning_format"] = "deepseek"
    return Turn(options, is_parsed, think.mode != pb.Think.OFF)


def _template_arguments(think: pb.Think, template: ChatTemplate, tools: Sequence[pb.Tool]) -> Json:
    """Tools are among them: what the template shows differs from what the grammar of calls is made of."""
    listed = [tool for tool in tools if not tool.unlisted]
    arguments: Json = {"tools": shown_tools(listed)} if tools else {}
    if template.thinking and think.mode != pb.Think.UNSET:
        arguments["enable_thinking"] = think.mode == pb.Think.ON
    if template.takes_effort and think.level:
        arguments["reasoning_effort"] = _EFFORTS.get(think.level, think.level)
    return {"chat_template_kwargs": arguments} if arguments else {}
