"""From a request's input to a Prompt: token ids, and the mode that generates and parses the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drover.errors import CapabilityMissing, ContextExceeded, InvalidRequest
from drover.go_template.template import Template
from drover.thinking import needs_template
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_modes import AnswerMode, PlainAnswer, ServerParsedAnswer
from engine_worker.engines.llamacpp.api import LlamaApi
from engine_worker.engines.llamacpp.chat_plan import ChatPlan, plan_chat
from engine_worker.engines.llamacpp.drover_parsed import go_template_answer, with_chosen_tools
from engine_worker.engines.llamacpp.messages import join_last_assistant_messages
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.prompt.arrangements import ARRANGEMENTS, Arrange, arranged
from engine_worker.prompt.go_prompt import go_prompt_of
from engine_worker.prompt.window import Fitted, Window, fit_ids, fit_messages
from engine_worker.schemas.constraint import Constraint, constraint_of
from engine_worker.schemas.custom_input import not_enforced
from engine_worker.schemas.schema_to_grammar import Grammar

_LINE_END = "\n"


@dataclass(frozen=True, slots=True)
class Prompt:
    """The prompt that llama-server continues. `answer`: how the answer is generated and parsed.
    `is_one_json`: the whole answer is the JSON text that a format asks for; with tools it may be calls
    instead. `text_grammar`: of the whole answer, where it is another text than JSON. `not_honoured`: as in
    Started.
    """

    ids: list[int]
    truncated_tokens: int
    answer: AnswerMode
    not_honoured: Sequence[str] = ()
    is_one_json: bool = False
    text_grammar: Grammar | None = None


@dataclass(frozen=True, slots=True)
class Prompts:
    """Makes prompts for one model. `go_template`: a Go template that replaces the model's own. `adds_space`:
    the vocabulary tokenises text as if a space stood before it.
    """

    api: LlamaApi
    template: ChatTemplate
    context_length: int
    vocabulary_size: int
    go_template: Template | None = None
    arrangements: Sequence[Arrange] = ARRANGEMENTS
    adds_space: bool = False

    async def prepare(self, request: pb.GenerateRequest) -> Prompt:
        """Render, tokenise and fit the request into its context window."""
        constraint = await constraint_of(request, self.template.syntax.written)
        prompt = await self._prepared(request, constraint)
        not_honoured = [*prompt.not_honoured, *lacking(request)]
        if request.sampling.stop_token_ids and isinstance(prompt.answer, ServerParsedAnswer):
            # Its chunks have no token ids.
            not_honoured.append("stop_token_ids")
        if constraint is None:
            return replace(prompt, not_honoured=not_honoured)
        not_honoured += constraint.not_honoured
        if request.chat.tools:
            return replace(prompt, not_honoured=not_honoured)
        if constraint.schema is not None:
            return replace(prompt, not_honoured=not_honoured, is_one_json=True)
        return replace(prompt, not_honoured=not_honoured, text_grammar=constraint.grammar)

    async def _prepared(self, request: pb.GenerateRequest, constraint: Constraint | None) -> Prompt:
        window = Window.of(request, self.context_length)
        self.checked([*request.sampling.logit_bias, *request.sampling.stop_token_ids])
        plain = PlainAnswer("" if constraint is None else constraint.text)
        if (templated := await go_prompt_of(request, self.go_template)) is not None:
            self.checked(list(request.prompt.context))
            templated = with_chosen_tools(templated)
            fitted = await templated.fit(window, self._tokens)
            answer = await go_template_answer(templated, constraint, self.template.syntax)
            cannot_think = request.think.mode == pb.Think.ON and not templated.template.uses("thinking")
            mode = answer or plain
            not_honoured = ["think"] if cannot_think else []
            described = [] if mode.grammar else not_enforced(request.chat.tools)
            return _prompt(fitted, mode, [*not_honoured, *described, *_template_arguments(request)])
        match request.WhichOneof("input"):
            case "chat":
                return await self._chat(request, window, constraint)
            case "prompt":
                return await self._single_prompt(request, window, constraint)
            case "raw":
                ids = await self._ids_of_text(request.raw)
                return _prompt(fit_ids(ids, window), plain, _template_arguments(request))
            case "tokens":
                ids = _not_empty(self.checked(list(request.tokens.ids)))
                return _prompt(fit_ids(ids, window), plain, _template_arguments(request))
            case _:
                raise InvalidRequest("the request has no input: set chat, prompt, raw or tokens")

    async def _chat(
        self, request: pb.GenerateRequest, window: Window, constraint: Constraint | None
    ) -> Prompt:
        if any(message.images for message in request.chat.messages):
            raise CapabilityMissing("this model does not support images")
        messages = join_last_assistant_messages(request.chat.messages)
        answer_start = messages[-1] if request.chat.continue_last and messages else None
        if answer_start is not None and answer_start.role != "assistant":
            answer_start = None
        plan = await asyncio.to_thread(plan_chat, request, self.template, answer_start, constraint)
        return await self._rendered(messages, plan, window)

    async def _rendered(self, messages: Sequence[pb.Message], plan: ChatPlan, window: Window) -> Prompt:
        """Render the messages in the first arrangement that the template accepts.

        Raises InvalidRequest if it accepts none.
        """

        async def prompt(arrange: Arrange) -> Prompt:
            tried = replace(plan, arrange=arrange)
            fitted = await fit_messages(messages, window, lambda kept: self._ids(kept, tried))
            answer = tried.answer
            if isinstance(answer, ServerParsedAnswer):
                fitted = await self._shortened(fitted, tried, window) if fitted.is_cut else fitted
                answer = replace(answer, chat=tried.body(fitted.messages))
            return _prompt(fitted, answer, tried.not_honoured)

        return await arranged(self.arrangements, prompt)

    async def _single_prompt(
        self, request: pb.GenerateRequest, window: Window, constraint: Constraint | None
    ) -> Prompt:
        prompt = request.prompt
        if prompt.images:
            raise CapabilityMissing("this model does not support images")
        if prompt.HasField("suffix"):
            raise CapabilityMissing("this model does not support insert")
        plan = plan_chat(request, self.template, constraint=constraint)
        messages = [pb.Message(role="user", content=prompt.text)]
        if prompt.HasField("system"):
            messages.insert(0, pb.Message(role="system", content=prompt.system))
        if not (isinstance(plan.answer, PlainAnswer) or prompt.context):
            return await self._rendered(messages, plan, window)
        # llama.cpp parses answers to messages only, and `context` is an earlier exchange in token ids.
        not_honoured = ["think"] if isinstance(plan.answer, ServerParsedAnswer) else []
        plan = plan.without_server_parser(self.template)
        text = await arranged(
            self.arrangements,
            lambda arrange: self.api.apply_template(replace(plan, arrange=arrange).body(messages)),
        )
        earlier = self.checked(list(prompt.context))
        ids = await self._tokens(text, add_special=not earlier)
        return _prompt(fit_ids(_not_empty(earlier + ids), window), plan.answer, not_honoured)

    async def _shortened(self, fitted: Fitted[None], plan: ChatPlan, window: Window) -> Fitted[None]:
        """Cut the beginning of the last message until the prompt fits: /v1/chat/completions takes messages,
        so token ids cannot be cut.
        """
        *others, last = fitted.messages
        whole = await self._ids(fitted.messages, plan)
        content = await self.api.tokenize(last.content, add_special=False)
        # Cut text may tokenise into more ids; truncated_length leaves far more room than that takes.
        surplus = len(whole) - window.truncated_length
        if surplus >= len(content):
            raise ContextExceeded(
                f"without its older messages the prompt has {len(whole)} tokens, {len(content)} of them in "
                f"the last message, but the context window is {window.size} tokens long; raise num_ctx, or "
                "shorten the system message and the tools"
            )
        text = (await self.api.detokenize(content[surplus:])).lstrip("\N{REPLACEMENT CHARACTER}")
        shorter = pb.Message()
        shorter.CopyFrom(last)
        shorter.content = text
        messages = [*others, shorter]
        ids = await self._ids(messages, plan)
        return Fitted(ids, fitted.truncated_tokens + len(fitted.ids) - len(ids), None, messages)

    async def _ids(self, messages: Sequence[pb.Message], plan: ChatPlan) -> list[int]:
        return await self._ids_of_text(await self.api.apply_template(plan.body(messages)))

    async def _tokens(self, text: str, add_special: bool) -> list[int]:
        """Tokenise text that follows an earlier exchange without the space that the vocabulary prepends."""
        if add_special or not self.adds_space:
            return await self.api.tokenize(text, add_special)
        first = await self.api.tokenize(_LINE_END, add_special=False)
        whole = await self.api.tokenize(_LINE_END + text, add_special=False)
        is_separate = whole[: len(first)] == first
        return whole[len(first) :] if is_separate else await self.api.tokenize(text, add_special=False)

    def checked(self, ids: list[int]) -> list[int]:
        """The same ids. Raises InvalidRequest for an id outside the vocabulary."""
        for token in ids:
            if token >= self.vocabulary_size > 0:
                raise InvalidRequest(
                    f"{token} is not a token of this model, which has {self.vocabulary_size}"
                )
        return ids

    async def _ids_of_text(self, text: str) -> list[int]:
        return _not_empty(await self.api.tokenize(text, add_special=True))


def _prompt(fitted: Fitted[None], answer: AnswerMode, not_honoured: Sequence[str] = ()) -> Prompt:
    return Prompt(fitted.ids, fitted.truncated_tokens, answer, not_honoured)


def _template_arguments(request: pb.GenerateRequest) -> Sequence[str]:
    """The field's name if it is set, for prompts that no Jinja template renders."""
    return ["chat_template_kwargs"] if needs_template(request) else []


def lacking(request: pb.GenerateRequest) -> Sequence[str]:
    """Names of fields that the request sets and llama-server lacks."""
    sampling, messages = request.sampling, request.chat.messages
    # It continues an assistant's last message in any case.
    ends_with_assistant = bool(messages) and messages[-1].role == "assistant" and not messages[-1].tool_calls
    named = (
        ("continue_final_message", ends_with_assistant and not request.chat.continue_last),
        ("min_tokens", sampling.min_tokens > 0 and not sampling.ignore_eos),
        ("ignore_eos", sampling.ignore_eos and request.WhichOneof("constraint") is not None),
        ("skip_special_tokens", sampling.show_special_tokens),
    )
    return [name for name, is_set in named if is_set]


def _not_empty(ids: list[int]) -> list[int]:
    if not ids:
        raise InvalidRequest("the prompt is empty")
    return ids
