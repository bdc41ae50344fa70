"""The three ways in which llama-server generates an answer, chosen once per request.

The mode decides the endpoint, the body of the request and the reader of the stream:

PlainAnswer         /completion            PlainOutput    no markup to parse: free text, or one format
DroverParsedAnswer  /completion            ParsedOutput   Drover's grammar and Drover's parsers
ServerParsedAnswer  /v1/chat/completions   ChatOutput     llama.cpp's grammar of calls and its parsers

`ChatPlan` chooses it for chats, `Prompts` for everything else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import JsonObject, LlamaApi
from engine_worker.engines.llamacpp.chat_output import ChatOutput, Transcript
from engine_worker.engines.llamacpp.chunks import AnswerReader
from engine_worker.engines.llamacpp.parsed_output import ParsedOutput
from engine_worker.engines.llamacpp.plain_output import PlainOutput
from engine_worker.engines.llamacpp.request import GenerationLimits, chat_body, completion_body, stop_texts
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.engines.llamacpp.vocabulary import Vocabulary
from engine_worker.output.base import OutputParser, PlainText
from engine_worker.output.mailbox import Mailbox

TokenizeText = Callable[[str, bool], Awaitable[list[int]]]
_LINE_END = "\n"


@dataclass(frozen=True, slots=True)
class ReaderContext:
    """The inputs of every AnswerReader. `started`: the first event of the answer."""

    request: pb.GenerateRequest
    started: pb.Started
    mailbox: Mailbox
    api: LlamaApi
    template: ChatTemplate
    vocabulary: Vocabulary

    @property
    def top_logprobs(self) -> int | None:
        """None if the request does not ask for log probabilities."""
        return self.request.top_logprobs if self.request.HasField("top_logprobs") else None

    async def tokenize(self, text: str, count: int) -> list[int]:
        return await answer_ids(self.api.tokenize_now, text, self.vocabulary, count)


class AnswerMode(Protocol):
    @property
    def endpoint(self) -> str:
        """The path at llama-server."""

    @property
    def grammar(self) -> str:
        """The grammar that Drover sends; empty for free text, and where llama.cpp makes its own."""

    def body(
        self, request: pb.GenerateRequest, ids: list[int], slot: int, limits: GenerationLimits
    ) -> JsonObject:
        """The request to `endpoint` for a prompt of these token ids."""

    def reader(self, context: ReaderContext) -> AnswerReader:
        """Reads the stream of one answer."""


@dataclass(frozen=True, slots=True)
class PlainAnswer:
    """Text without markup. llama-server looks for the stop texts."""

    grammar: str = ""
    endpoint: str = "/completion"

    def body(
        self, request: pb.GenerateRequest, ids: list[int], slot: int, limits: GenerationLimits
    ) -> JsonObject:
        body = completion_body(request, ids, slot, limits, self.grammar)
        if request.sampling.stop_token_ids:
            body["timings_per_token"] = True
        elif stops := stop_texts(request):
            body["stop"] = stops
        return body

    def reader(self, context: ReaderContext) -> AnswerReader:
        if context.request.sampling.stop_token_ids:
            # llama-server has no stop tokens, and text that it holds back would hide which is whose.
            return DroverParsedAnswer(self.grammar, PlainText()).reader(context)
        return PlainOutput(
            context.mailbox,
            context.started,
            context.top_logprobs,
            context.vocabulary,
            context.tokenize,
            context.api.detokenize_now,
        )


@dataclass(frozen=True, slots=True)
class DroverParsedAnswer:
    """Thinking or calls that Drover's parser finds. The parser's side looks for the stop texts: inside a call
    they would break it.
    """

    grammar: str
    parser: OutputParser
    endpoint: str = "/completion"

    def body(
        self, request: pb.GenerateRequest, ids: list[int], slot: int, limits: GenerationLimits
    ) -> JsonObject:
        body = completion_body(request, ids, slot, limits, self.grammar)
        # Token counts with every chunk, for an answer that a stop text of Drover's ends.
        body["timings_per_token"] = True
        return body

    def reader(self, context: ReaderContext) -> AnswerReader:
        return ParsedOutput(
            context.mailbox,
            context.started,
            context.top_logprobs,
            context.vocabulary,
            context.tokenize,
            context.api.detokenize_now,
            self.parser,
            stop_texts(context.request),
            context.request.sampling.stop_token_ids,
        )


@dataclass(frozen=True, slots=True)
class ServerParsedAnswer:
    """Thinking or calls that llama.cpp's parser finds. `chat`: the messages and everything else that shapes
    prompt and parser; set once the messages are fitted into the window. `shows_thinking` False: thinking is
    dropped from the answer.
    """

    shows_thinking: bool = True
    chat: JsonObject = field(default_factory=dict)
    grammar: str = ""
    endpoint: str = "/v1/chat/completions"

    def body(
        self, request: pb.GenerateRequest, ids: list[int], slot: int, limits: GenerationLimits
    ) -> JsonObject:
        return chat_body(request, self.chat, len(ids), slot, limits)

    def reader(self, context: ReaderContext) -> AnswerReader:
        return ChatOutput(
            context.mailbox,
            context.started,
            context.top_logprobs,
            stop_texts(context.request),
            self.shows_thinking,
            Transcript(context.template),
            context.tokenize,
        )


async def answer_ids(tokenize: TokenizeText, text: str, vocabulary: Vocabulary, count: int) -> list[int]:
    """Tokenise an answer that the model generated in about `count` tokens.

    Where the vocabulary prepends a space to text, llama.cpp's parsers strip it from the answer: both
    tokenisations are tried, and the one nearer to `count` is returned.
    """
    with_space = await tokenize(text, False)
    if not vocabulary.adds_space:
        return with_space
    first, whole = await tokenize(_LINE_END, False), await tokenize(_LINE_END + text, False)
    without_space = whole[len(first) :]
    if whole[: len(first)] != first or abs(len(with_space) - count) < abs(len(without_space) - count):
        return with_space
    return without_space
