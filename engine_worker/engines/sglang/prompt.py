"""Render and tokenise prompts in threads, so that no stream waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from drover.errors import CapabilityMissing, ContextExceeded, InvalidRequest
from drover.go_template.template import Template
from drover.v1 import engine_pb2 as pb
from engine_worker.prompt.arrangements import Arrange, arranged, probed
from engine_worker.prompt.go_prompt import GoPrompt, go_prompt_of
from engine_worker.prompt.template_arguments import template_arguments
from engine_worker.prompt.window import Fitted, Window, fit_ids, fit_rendered

if TYPE_CHECKING:
    from engine_worker.engines.sglang.upstream.templates import Rendered, Templates, Turn
    from engine_worker.engines.sglang.upstream.vocabulary import Vocabulary

    # A rendered prompt, and the messages that it shows.
    _Rendering = tuple[Rendered, Sequence[pb.Message]]

Result = TypeVar("Result")
_TOKENISING_THREADS = 2


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in tokens: `context_length` for prompt and answer, `longest_prompt` for a prompt in SGLang."""

    context_length: int
    longest_prompt: int

    def window(self, request: pb.GenerateRequest) -> Window:
        return Window.of(request, self.context_length, self.longest_prompt)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A rendered prompt that fits; `images` are the bytes of the images in it, in its order."""

    rendered: Rendered
    fitted: Fitted[object]
    images: Sequence[bytes] = ()


class Prompts:
    """Makes the prompts of one loaded model; a `go_template` replaces the model's own template."""

    def __init__(
        self,
        templates: Templates,
        vocabulary: Vocabulary,
        limits: Limits,
        make_turn: Callable[..., Turn],
        go_template: Template | None = None,
    ) -> None:
        self._go_template = go_template
        self._templates = templates
        self._vocabulary = vocabulary
        self._limits = limits
        self._make_turn = make_turn
        self._arrangements: Sequence[Arrange] | None = None
        # One: SGLang's template code keeps state.
        self._renderer = ThreadPoolExecutor(1, thread_name_prefix="render")
        # A long text whose client has left must not delay every other request.
        self._tokeniser = ThreadPoolExecutor(_TOKENISING_THREADS, thread_name_prefix="tokenise")

    def close(self) -> None:
        for threads in (self._renderer, self._tokeniser):
            threads.shutdown(wait=False, cancel_futures=True)

    async def encode(self, text: str, add_special: bool) -> list[int]:
        return await _in(self._tokeniser, lambda: self._vocabulary.encode(text, add_special))

    async def decode(self, ids: Sequence[int]) -> str:
        self._checked(ids)
        return await _in(self._tokeniser, lambda: self._vocabulary.decode(ids))

    async def prepare(self, request: pb.GenerateRequest) -> Prompt:
        """Render and tokenise the input, and fit it into the window.

        Raises InvalidRequest, CapabilityMissing, ContextExceeded.
        """
        if request.HasField("continuation"):
            return await self._resumed(request)
        if (templated := await go_prompt_of(request, self._go_template)) is not None:
            return await self._templated(templated, request)
        match request.WhichOneof("input"):
            case "chat":
                return await self._chat(request)
            case "prompt":
                return await self._prompt(request)
            case "raw":
                return await self._plain(request, await self.encode(request.raw, add_special=True))
            case "tokens":
                return await self._plain(request, self._checked(list(request.tokens.ids)))
            case _:
                raise InvalidRequest("the request has no input: set chat, prompt, raw or tokens")

    async def _chat(self, request: pb.GenerateRequest) -> Prompt:
        return await self._messages(list(request.chat.messages), self._turn(request), request)

    async def _prompt(self, request: pb.GenerateRequest) -> Prompt:
        prompt = request.prompt
        if prompt.HasField("suffix"):
            return await self._plain(request, await self._filled_in(prompt))
        messages = [pb.Message(role="user", content=prompt.text, images=prompt.images)]
        if prompt.HasField("system"):
            messages.insert(0, pb.Message(role="system", content=prompt.system))
        if not prompt.context:
            return await self._messages(messages, self._turn(request), request)
        if prompt.images:
            raise InvalidRequest("images and context ids cannot be sent together")
        turn = self._turn(request)
        rendered = await arranged(
            await self._accepted(), lambda arrange: self._render(arrange(messages), turn)
        )
        earlier = self._checked(list(prompt.context))
        ids = earlier + self._vocabulary.without_beginning(rendered.ids)
        return Prompt(rendered, fit_ids(ids, self._limits.window(request)))

    async def _messages(
        self, messages: Sequence[pb.Message], turn: Turn, request: pb.GenerateRequest
    ) -> Prompt:
        if not self._templates.sees and any(message.images for message in messages):
            raise CapabilityMissing("this model does not support images")

        async def prompt(arrange: Arrange) -> Prompt:
            return await self._fitted(messages, turn, request, arrange)

        return await arranged(await self._accepted(), prompt)

    async def _fitted(
        self, messages: Sequence[pb.Message], turn: Turn, request: pb.GenerateRequest, arrange: Arrange
    ) -> Prompt:
        async def render(kept: Sequence[pb.Message]) -> tuple[list[int], _Rendering]:
            shown = arrange(kept)
            rendered = await self._render(shown, turn)
            return _not_empty(rendered.ids), (rendered, shown)

        fitted = await fit_rendered(messages, self._limits.window(request), render)
        rendered, shown = fitted.payload
        images = [image.data for message in shown for image in message.images]
        if images and fitted.is_cut:
            raise ContextExceeded(
                "the images and the last message are longer than the context window; "
                "send fewer or raise num_ctx"
            )
        return Prompt(rendered, fitted, [images[number] for number in rendered.images])

    async def _templated(self, prompt: GoPrompt, request: pb.GenerateRequest) -> Prompt:
        """SGLang's parsers read the answer also where a Go template made the prompt."""
        self._checked(request.prompt.context)
        fitted = await prompt.fit(self._limits.window(request), self.encode)
        rendered = await self._render((), self._turn(request), fitted.ids)
        return Prompt(_with_template_thinking(request, rendered, prompt), fitted)

    async def _plain(self, request: pb.GenerateRequest, ids: list[int]) -> Prompt:
        """A prompt without a template; thinking is parsed if the request asks for it."""
        fitted = fit_ids(_not_empty(ids), self._limits.window(request))
        rendered = await self._render((), self._turn(request), fitted.ids)
        return Prompt(_with_plain_thinking(request, rendered), fitted)

    async def _resumed(self, request: pb.GenerateRequest) -> Prompt:
        """The prompt of a resumed answer: its ids are those of the first attempt."""
        earlier = request.continuation
        ids = _not_empty(self._checked(list(earlier.prompt_ids)))
        self._checked(earlier.produced_ids)
        is_chat = request.WhichOneof("input") == "chat"
        messages = list(request.chat.messages) if is_chat else []
        if request.prompt.images or any(message.images for message in messages):
            raise CapabilityMissing("an answer about images cannot be resumed from another worker's tokens")
        rendered = await self._render(messages, self._turn(request), ids)
        templated = await go_prompt_of(request, self._go_template)
        is_prompt = request.WhichOneof("input") == "prompt" and not request.prompt.HasField("suffix")
        if templated is not None:
            rendered = _with_template_thinking(request, rendered, templated)
        elif not is_chat and not is_prompt:
            rendered = _with_plain_thinking(request, rendered)
        elif _is_begun(request):
            rendered = replace(rendered, thinks=False)
        return Prompt(rendered, Fitted(ids, earlier.truncated_tokens, None))

    async def _accepted(self) -> Sequence[Arrange]:
        """The arrangements that the template accepts; probed with the first conversation."""
        if self._arrangements is None:
            self._arrangements = await probed(self._probe)
        return self._arrangements

    async def _probe(self, messages: Sequence[pb.Message]) -> str:
        rendered = await self._render(messages, self._make_turn())
        return rendered.text or self._vocabulary.decode(rendered.ids)

    async def _render(
        self, messages: Sequence[pb.Message], turn: Turn, prompt_ids: Sequence[int] | None = None
    ) -> Rendered:
        return await _in(self._renderer, lambda: self._templates.render(messages, turn, prompt_ids))

    async def _filled_in(self, prompt: pb.PromptInput) -> list[int]:
        if not self._vocabulary.can_fill_in:
            raise CapabilityMissing("this model does not support insert")
        return await self.encode(self._vocabulary.fill_in(prompt.text, prompt.suffix), add_special=True)

    def _turn(self, request: pb.GenerateRequest) -> Turn:
        return self._make_turn(
            tools=list(request.chat.tools),
            tool_choice=request.tool_choice,
            think=request.think,
            continue_last=request.chat.continue_last,
            no_generation_prompt=request.chat.no_generation_prompt,
            arguments=template_arguments(request),
        )

    def _checked(self, ids: Sequence[int]) -> list[int]:
        for token in ids:
            if token >= self._vocabulary.size:
                raise InvalidRequest(
                    f"{token} is not a token of this model, which has {self._vocabulary.size}"
                )
        return list(ids)


async def _in(threads: ThreadPoolExecutor, work: Callable[[], Result]) -> Result:
    return await asyncio.get_running_loop().run_in_executor(threads, work)


def _with_template_thinking(request: pb.GenerateRequest, rendered: Rendered, prompt: GoPrompt) -> Rendered:
    """Parse thinking as with the model's own template, if the Go template uses it."""
    if request.prompt.HasField("suffix") or not prompt.template.uses("thinking"):
        return _with_plain_thinking(request, rendered)
    return replace(rendered, thinks=False) if _is_begun(request) else rendered


def _is_begun(request: pb.GenerateRequest) -> bool:
    """Whether the answer continues an assistant's content, so that its thinking is over."""
    chat = request.chat
    return chat.continue_last and bool(chat.messages) and bool(chat.messages[-1].content)


def _with_plain_thinking(request: pb.GenerateRequest, rendered: Rendered) -> Rendered:
    """Without a template, parse thinking if the prompt ends within it, or if the request asks for it and no
    grammar would wait for its end.
    """
    asked = request.think.mode == pb.Think.ON and request.WhichOneof("constraint") is None
    is_gap = request.prompt.HasField("suffix")
    return replace(rendered, thinks=rendered.thinks and not is_gap and (rendered.opens_thinking or asked))


def _not_empty(ids: list[int]) -> list[int]:
    if not ids:
        raise InvalidRequest("the prompt is empty")
    return ids
