"""Chat templates, thinking switches and forced tool calls, rendered by SGLang's OpenAI layer.

That layer supports forty model families: templates in Jinja, in Python or in tables, tool formats, grammars
that force a call, switches for thinking. Only its rendering is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import jinja2
from sglang.srt.entrypoints.openai.encoding_dsv32 import DS32EncodingError
from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest, Tool
from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat

from drover.errors import InvalidRequest
from drover.thinking import always_on, gpt_oss_levels, on_or_off
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.upstream.conversation import (
    PLACEHOLDER,
    any_message,
    tool_choice,
    tool_definition,
)
from engine_worker.engines.sglang.upstream.tool_formats import tool_format_of
from engine_worker.output.call_markup import CallMarkup, call_markup_of, conversation, probe_tool
from engine_worker.prompt.arrangements import TemplateRefusal

if TYPE_CHECKING:
    from sglang import Engine

_TAIL_TOKENS = 16
# Formats that a template may describe to the model without ever rendering a call in them.
_JSON_IN_TAGS = ("qwen", "qwen25", "hermes")
_TAGGED = CallMarkup("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>")
# Exceptions of templates, which are programs in Jinja or Python.
_TEMPLATE_ERRORS = (
    ValueError, TypeError, LookupError, ArithmeticError, AttributeError, AssertionError, NotImplementedError,
    jinja2.TemplateError, DS32EncodingError,
)  # fmt: skip
_FORCED = (pb.ToolChoice.REQUIRED, pb.ToolChoice.NAMED)


@dataclass(slots=True)
class Rendered:
    """A rendered prompt.

    `images`: indexes into the request's images, in the order of the prompt. `constraint`: kind and value of
    the grammar that forces tool calls. `opens_thinking`: the prompt ends within a thinking block. `thinks`:
    the output must be parsed for thinking. `thinking_refused`: the model cannot be switched as requested.
    """

    ids: list[int]
    text: str = ""
    images: list[int] = field(default_factory=list)
    stop: list[str] = field(default_factory=list)
    constraint: tuple[str, str] | None = None
    opens_thinking: bool = False
    thinks: bool = False
    thinking_refused: bool = False
    skip_special_tokens: bool = True
    tools: list[Tool] = field(default_factory=list)
    request: ChatCompletionRequest | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """What a template gets besides the messages."""

    tools: Sequence[pb.Tool] = ()
    tool_choice: pb.ToolChoice = field(default_factory=pb.ToolChoice)
    think: pb.Think = field(default_factory=pb.Think)
    continue_last: bool = False
    no_generation_prompt: bool = False
    arguments: Mapping[str, object] = field(default_factory=dict)


class Templates:
    """The model's chat template. Its methods block; use it from one thread at a time."""

    def __init__(self, engine: Engine) -> None:
        self._serving = OpenAIServingChat(engine.tokenizer_manager, engine.template_manager)
        self._manager = engine.tokenizer_manager
        self._templates = engine.template_manager
        if not self._serving.tool_call_parser:
            self._serving.tool_call_parser = tool_format_of(self.source)

    @property
    def reasoning_parser(self) -> str | None:
        return self._serving.reasoning_parser or None

    @property
    def tool_call_parser(self) -> str | None:
        return self._serving.tool_call_parser or None

    @property
    def is_harmony(self) -> bool:
        return bool(self._serving.is_gpt_oss)

    def call_markup(self) -> CallMarkup | None:
        """Markup around calls that the template renders or describes; None if they begin with no tag."""
        if not self.tool_call_parser:
            return None
        texts = []
        for calls in (1, 2):
            try:
                texts.append(self.render(conversation(calls), Turn(tools=[probe_tool()])).text)
            except (InvalidRequest, TemplateRefusal):
                # Some templates accept only one call at a time, some no tools.
                texts.append("")
        learned = call_markup_of(*texts)
        return _TAGGED if learned is None and self.tool_call_parser in _JSON_IN_TAGS else learned

    @property
    def source(self) -> str:
        """The Jinja template; empty if the model has none or one of another kind."""
        template = getattr(self._manager.tokenizer, "chat_template", None)
        return template if isinstance(template, str) else ""

    @property
    def exists(self) -> bool:
        return bool(
            self.source
            or self._templates.chat_template_name
            or self._templates.python_chat_template
            or self._serving.chat_encoding_spec
        )

    @property
    def renderer(self) -> str:
        """SGLang's own code that makes prompts; empty where a Jinja template does, or there is none."""
        if self._serving.chat_encoding_spec:
            return str(self._serving.chat_encoding_spec)
        if (python := self._templates.python_chat_template) is not None:
            return str(python.name)
        return self._templates.chat_template_name or ""

    @property
    def thinking(self) -> pb.Thinking | None:
        """The values of `think` that the model tells apart; None where it cannot think, or has efforts whose
        names SGLang does not list.
        """
        if not self._serving.reasoning_parser:
            return None
        if self._serving.is_gpt_oss:
            return gpt_oss_levels()
        config = self._serving.template_manager.reasoning_config
        if "reasoning_effort" in self.source or (config is not None and config.effort_kwarg):
            return None
        probe = ChatCompletionRequest(messages=[])
        try:
            self._serving.apply_reasoning_enabled(probe, True)
        except ValueError:
            return None
        if probe.reasoning_effort is not None:
            return None
        try:
            self._serving.apply_reasoning_enabled(probe, False)
        except ValueError:
            return always_on()
        return on_or_off()

    @property
    def sees(self) -> bool:
        return bool(self._manager.model_config.is_image_understandable_model)

    def render(
        self, messages: Sequence[pb.Message], turn: Turn, prompt_ids: Sequence[int] | None = None
    ) -> Rendered:
        """Render the messages; with `prompt_ids` these are the prompt, and everything else is as for the
        messages.

        Raises TemplateRefusal for messages that the template does not accept, InvalidRequest for a tool
        choice that does not fit the tools.
        """
        begun = messages[-1] if turn.continue_last and messages and prompt_ids is None else None
        if begun is not None:
            # Appended by `_begin`: SGLang would put its text into a thinking block that the template opened.
            messages = messages[:-1] or [pb.Message(role="user")]
        try:
            request = self._request(messages, turn)
        except (ValueError, TypeError) as error:
            raise InvalidRequest(str(error)) from error
        try:
            # Otherwise SGLang turns a last message of the assistant into one of the user.
            request._format_add_generation_prompt = not turn.no_generation_prompt
            rendered = self._render(request, turn, prompt_ids)
        except _TEMPLATE_ERRORS as error:
            raise (InvalidRequest(str(error)) if prompt_ids is not None else _refusal(error)) from error
        return rendered if begun is None else self._begin(rendered, begun)

    def _render(
        self, request: ChatCompletionRequest, turn: Turn, prompt_ids: Sequence[int] | None
    ) -> Rendered:
        if prompt_ids is not None:
            request.input_ids = list(prompt_ids)
        refused = self._switch_thinking(request, turn.think)
        made = self._serving._process_messages(request, self._manager.model_config.is_multimodal)
        ids = list(made.prompt_ids) if made.prompt_ids else self._encode(made.prompt)
        tools = _callable(request, turn)
        return Rendered(
            ids=ids,
            text=made.prompt,
            images=[int(image.url.removeprefix(PLACEHOLDER)) for image in made.image_data or ()],
            stop=[made.stop] if isinstance(made.stop, str) else list(made.stop or ()),
            constraint=_as_text(made.tool_call_constraint),
            opens_thinking=self._opens_thinking(ids),
            thinks=bool(made.require_reasoning),
            thinking_refused=refused,
            # A call may begin with a special token, even if the prompt lists no tools.
            skip_special_tokens=made.skip_special_tokens and not tools,
            tools=tools,
            request=request,
        )

    def _begin(self, rendered: Rendered, begun: pb.Message) -> Rendered:
        """Append the assistant's message to the prompt: thinking, then content."""
        text = begun.content
        detector = self._serving._reasoning_detector
        if detector is not None and (rendered.opens_thinking or begun.thinking):
            opening = "" if rendered.opens_thinking else f"{detector.think_start_token}\n"
            closing = f"\n{detector.think_end_token}\n\n" if begun.content else ""
            text = f"{opening}{begun.thinking}{closing}{begun.content}"
        has_content = bool(begun.content)
        return replace(
            rendered,
            ids=rendered.ids + self._manager.tokenizer.encode(text, add_special_tokens=False),
            text=rendered.text + text,
            opens_thinking=not has_content and (rendered.opens_thinking or bool(begun.thinking)),
            thinks=rendered.thinks and not has_content,
        )

    def _request(self, messages: Sequence[pb.Message], turn: Turn) -> ChatCompletionRequest:
        effort = self._effort(turn.think)
        listed = _listed(turn)
        request = ChatCompletionRequest(
            messages=[],
            tools=[tool_definition(tool) for tool in listed] or None,
            tool_choice=tool_choice(turn.tool_choice, [tool.name for tool in listed]),
            parallel_tool_calls=turn.tool_choice.parallel if turn.tool_choice.HasField("parallel") else True,
            **({"reasoning_effort": effort} if effort else {}),
            **({"chat_template_kwargs": {**turn.arguments}} if turn.arguments else {}),
        )
        first_image = 0
        for message in messages:
            request.messages.append(any_message(message, first_image))
            first_image += len(message.images)
        return request

    def _effort(self, think: pb.Think) -> str:
        """The level of thinking; gpt-oss has none above high (ollama-contract.md, "Thinking")."""
        return "high" if think.level == "max" and self._serving.is_gpt_oss else think.level

    def _switch_thinking(self, request: ChatCompletionRequest, think: pb.Think) -> bool:
        """Switch thinking on or off. Returns True if the model cannot be switched as requested."""
        if think.mode == pb.Think.UNSET or not self._serving.reasoning_parser:
            return False
        if think.level and think.mode == pb.Think.ON:
            return False
        try:
            self._serving.apply_reasoning_enabled(request, think.mode == pb.Think.ON)
        except ValueError:
            return think.mode == pb.Think.OFF
        return False

    def _opens_thinking(self, ids: Sequence[int]) -> bool:
        detector = self._serving._reasoning_detector
        if detector is None:
            return False
        tail = self._manager.tokenizer.decode(list(ids[-_TAIL_TOKENS:]), skip_special_tokens=False)
        return bool(str(tail).rstrip().endswith(detector.think_start_token))

    def _encode(self, prompt: str) -> list[int]:
        return list(self._manager.tokenizer.encode(prompt)) if prompt else []


def _listed(turn: Turn) -> Sequence[pb.Tool]:
    """Tools for the prompt. All if a call is forced: SGLang builds the grammar from the listed ones."""
    is_forced = turn.tool_choice.mode in _FORCED
    return turn.tools if is_forced else [tool for tool in turn.tools if not tool.unlisted]


def _callable(request: ChatCompletionRequest, turn: Turn) -> list[Tool]:
    """Tools that may be called, including those that the prompt does not list."""
    if turn.tool_choice.mode == pb.ToolChoice.NONE:
        return []
    unlisted = [] if turn.tool_choice.mode in _FORCED else [tool for tool in turn.tools if tool.unlisted]
    return [*(request.tools or ()), *(Tool(**tool_definition(tool)) for tool in unlisted)]


def _refusal(error: Exception) -> TemplateRefusal:
    """The error that a template raised, which SGLang wraps. `raise_exception` raises jinja2.TemplateError
    itself; its subclasses are failures in the template's code.
    """
    raised = error.__cause__ or error
    if type(raised) is jinja2.TemplateError:
        return TemplateRefusal(str(raised))
    return TemplateRefusal("", f"{type(error).__name__}: {error}")


def _as_text(constraint: tuple[str, object] | None) -> tuple[str, str] | None:
    if constraint is None:
        return None
    kind, value = constraint
    if isinstance(value, str):
        return kind, value
    if hasattr(value, "model_dump"):
        value = value.model_dump(by_alias=True)
    return kind, json.dumps(value, ensure_ascii=False)
