"""From a request's input to what llama.cpp gets: the token ids, and who makes sense of the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from drover.errors import CapabilityMissing, ContextExceeded, InvalidRequest
from drover.go_template.template import Template
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import Json, LlamaApi
from engine_worker.engines.llamacpp.body import read_constraint
from engine_worker.engines.llamacpp.go_answer import go_answer, with_chosen_tools
from engine_worker.engines.llamacpp.messages import last_words_joined
from engine_worker.engines.llamacpp.own_answer import OwnAnswer
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.engines.llamacpp.turn import Turn, turn_of
from engine_worker.prompt.arrangements import ARRANGEMENTS, Arrange, arranged
from engine_worker.prompt.go_prompt import GoPrompt, go_prompt_of
from engine_worker.prompt.window import Fitted, Window, fit_ids, fit_messages
from engine_worker.schemas.constraint import Constraint

_LINE_END = "\n"


@dataclass(frozen=True, slots=True)
class Prompt:
    """`chat`: the body of /v1/chat/completions that gives the same prompt, where llama.cpp is to parse the
    answer; `own`: it has a grammar and parsers of ours. Neither: it is plain text, which `constraint` holds
    for.
    """

    ids: list[int]
    truncated_tokens: int
    chat: Json | None = None
    shows_thinking: bool = True
    not_honoured: Sequence[str] = ()
    constraint: Constraint | None = None
    own: OwnAnswer | None = None


@dataclass(frozen=True, slots=True)
class Prompts:
    api: LlamaApi
    template: ChatTemplate
    context_length: int
    vocabulary_size: int
    go_template: Template | None = None
    arrangements: Sequence[Arrange] = ARRANGEMENTS
    # The vocabulary's: text is tokenised as if a space stood before it.
    adds_space: bool = False

    async def prepare(self, request: pb.GenerateRequest) -> Prompt:
        """Renders, tokenises, and fits the result into the window. `go_template`: in place of the model's."""
        constraint = await read_constraint(request, self.template.syntax)
        prompt = await self._prepared(request, constraint)
        if constraint is None:
            return prompt
        not_honoured = [*prompt.not_honoured, *constraint.not_honoured]
        return replace(prompt, constraint=constraint, not_honoured=not_honoured)

    async def _prepared(self, request: pb.GenerateRequest, constraint: Constraint | None) -> Prompt:
        window = Window.of(request, self.context_length)
        self.checked(list(request.sampling.logit_bias))
        if (templated := await go_prompt_of(request, self.go_template)) is not None:
            return await self._templated(templated, request, window, constraint)
        match request.WhichOneof("input"):
            case "chat":
                return await self._chat(request, window, constraint)
            case "prompt":
                return await self._prompt(request, window, constraint)
            case "raw":
                return _plain(fit_ids(await self._known(request.raw), window))
            case "tokens":
                return _plain(fit_ids(_not_empty(self.checked(list(request.tokens.ids))), window))
            case _:
                raise InvalidRequest("the request has no input: set chat, prompt, raw or tokens")

    async def _templated(
        self,
        prompt: GoPrompt,
        request: pb.GenerateRequest,
        window: Window,
        constraint: Constraint | None,
    ) -> Prompt:
        self.checked(list(request.prompt.context))
        prompt = with_chosen_tools(prompt)
        fitted = await prompt.fit(window, self._tokens)
        own = await go_answer(prompt, constraint, self.template.syntax)
        is_not_honoured = request.think.mode == pb.Think.ON and not prompt.template.uses("thinking")
        return _plain(fitted, ["think"] if is_not_honoured else [], own)

    async def _chat(
        self, request: pb.GenerateRequest, window: Window, constraint: Constraint | None
    ) -> Prompt:
        if any(message.images for message in request.chat.messages):
            raise CapabilityMissing("this model does not support images")
        messages = last_words_joined(request.chat.messages)
        begun = messages[-1] if request.chat.continue_last and messages else None
        if begun is not None and begun.role != "assistant":
            begun = None
        turn = await asyncio.to_thread(turn_of, request, self.template, begun, constraint)
        return await self._rendered(messages, turn, window)

    async def _rendered(self, messages: Sequence[pb.Message], turn: Turn, window: Window) -> Prompt:
        """As the template accepts the messages. Raises InvalidRequest where it does not."""

        async def prompt(arrange: Arrange) -> Prompt:
            arranged_turn = replace(turn, arrange=arrange)
            fitted = await fit_messages(messages, window, lambda kept: self._ids(kept, arranged_turn))
            if arranged_turn.is_parsed:
                return await self._parsed(fitted, arranged_turn, window)
            return _plain(fitted, turn.not_honoured, turn.own)

        return await arranged(self.arrangements, prompt)

    async def _prompt(
        self, request: pb.GenerateRequest, window: Window, constraint: Constraint | None
    ) -> Prompt:
        prompt = request.prompt
        if prompt.images:
            raise CapabilityMissing("this model does not support images")
        if prompt.HasField("suffix"):
            raise CapabilityMissing("this model does not support insert")
        turn = turn_of(request, self.template, constraint=constraint)
        messages = [pb.Message(role="user", content=prompt.text)]
        if prompt.HasField("system"):
            messages.insert(0, pb.Message(role="system", content=prompt.system))
        if (turn.is_parsed or turn.own) and not prompt.context:
            return await self._rendered(messages, turn, window)
        # llama.cpp parses answers to messages only, and an earlier exchange in token ids is none.
        not_honoured = ["think"] if turn.is_parsed else []
        turn = turn.without_parser(self.template)
        text = await arranged(
            self.arrangements,
            lambda arrange: self.api.apply_template(replace(turn, arrange=arrange).body(messages)),
        )
        earlier = self.checked(list(prompt.context))
        ids = await self._tokens(text, add_special=not earlier)
        return _plain(fit_ids(_not_empty(earlier + ids), window), not_honoured, turn.own)

    async def _parsed(self, fitted: Fitted[None], turn: Turn, window: Window) -> Prompt:
        if fitted.is_cut:
            fitted = await self._shortened(fitted, turn, window)
        return Prompt(fitted.ids, fitted.truncated_tokens, turn.body(fitted.messages), turn.shows_thinking)

    async def _shortened(self, fitted: Fitted[None], turn: Turn, window: Window) -> Fitted[None]:
        """Cuts the beginning of the last message, since llama.cpp is not given ids but messages."""
        *others, last = fitted.messages
        whole = await self._ids(fitted.messages, turn)
        content = await self.api.tokenize(last.content, add_special=False)
        # Where it was cut the text may tokenise otherwise; there is far more room than that takes.
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
        ids = await self._ids(messages, turn)
        return Fitted(ids, fitted.truncated_tokens + len(fitted.ids) - len(ids), None, messages)

    async def _ids(self, messages: Sequence[pb.Message], turn: Turn) -> list[int]:
        return await self._known(await self.api.apply_template(turn.body(messages)))

    async def _tokens(self, text: str, add_special: bool) -> list[int]:
        """Behind an earlier exchange no space stands before a text that the template did not put there."""
        if add_special or not self.adds_space:
            return await self.api.tokenize(text, add_special)
        first = await self.api.tokenize(_LINE_END, add_special=False)
        whole = await self.api.tokenize(_LINE_END + text, add_special=False)
        is_apart = whole[: len(first)] == first
        return whole[len(first) :] if is_apart else await self.api.tokenize(text, add_special=False)

    def checked(self, ids: list[int]) -> list[int]:
        """Raises InvalidRequest for ids of no token."""
        for token in ids:
            if token >= self.vocabulary_size > 0:
                raise InvalidRequest(
                    f"{token} is not a token of this model, which has {self.vocabulary_size}"
                )
        return ids

    async def _known(self, text: str) -> list[int]:
        return _not_empty(await self.api.tokenize(text, add_special=True))


def _plain(fitted: Fitted[None], not_honoured: Sequence[str] = (), own: OwnAnswer | None = None) -> Prompt:
    return Prompt(fitted.ids, fitted.truncated_tokens, not_honoured=not_honoured, own=own)


def _not_empty(ids: list[int]) -> list[int]:
    if not ids:
        raise InvalidRequest("the prompt is empty")
    return ids
