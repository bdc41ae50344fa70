"""Which of llama-server's routes answers a request, and who reads its answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import Json, LlamaApi
from engine_worker.engines.llamacpp.body import chat_body, completion_body, stop_texts
from engine_worker.engines.llamacpp.chat_output import ChatOutput
from engine_worker.engines.llamacpp.chunks import ChunkReader
from engine_worker.engines.llamacpp.output import Output
from engine_worker.engines.llamacpp.parsed_output import ParsedOutput
from engine_worker.engines.llamacpp.prompt import Prompt
from engine_worker.engines.llamacpp.template import ChatTemplate
from engine_worker.engines.llamacpp.transcript import Transcript
from engine_worker.engines.llamacpp.vocabulary import Vocabulary
from engine_worker.output.mailbox import Mailbox
from engine_worker.prompt.window import Window

TokenizeText = Callable[[str, bool], Awaitable[list[int]]]
_LINE_END = "\n"


def grammar_of(prompt: Prompt) -> str:
    """What makes the answer; empty for free text, and where llama.cpp makes a grammar itself."""
    if prompt.own is not None:
        return prompt.own.grammar
    return prompt.constraint.text if prompt.constraint is not None and prompt.chat is None else ""


def is_one_json(request: pb.GenerateRequest, prompt: Prompt) -> bool:
    """Whether the whole answer is the JSON that its format asks for; with tools it may be calls."""
    return prompt.constraint is not None and not request.chat.tools


def call_of(request: pb.GenerateRequest, prompt: Prompt, slot: int, context_length: int) -> tuple[str, Json]:
    """The route and its body."""
    window = Window.of(request, context_length)
    room = context_length - len(prompt.ids)
    if prompt.chat is None:
        grammar = prompt.own.grammar if prompt.own else None
        return "/completion", completion_body(
            request, prompt.ids, slot, window, room, prompt.constraint, grammar
        )
    return "/v1/chat/completions", chat_body(request, prompt.chat, len(prompt.ids), slot, window, room)


def reader_of(
    request: pb.GenerateRequest,
    prompt: Prompt,
    mailbox: Mailbox,
    api: LlamaApi,
    template: ChatTemplate,
    vocabulary: Vocabulary,
) -> ChunkReader:
    started = pb.Started(
        prompt_ids=prompt.ids,
        truncated_tokens=prompt.truncated_tokens,
        not_honoured=prompt.not_honoured,
    )
    top = request.top_logprobs if request.HasField("top_logprobs") else None

    async def tokenize(text: str, count: int) -> list[int]:
        return await answer_ids(api.tokenize_now, text, vocabulary, count)

    if prompt.own is not None:
        return ParsedOutput(
            mailbox,
            started,
            top,
            vocabulary,
            tokenize,
            api.detokenize_now,
            prompt.own.parser,
            stop_texts(request),
        )
    if prompt.chat is None:
        return Output(mailbox, started, top, vocabulary, tokenize, api.detokenize_now)
    return ChatOutput(
        mailbox, started, top, stop_texts(request), prompt.shows_thinking, Transcript(template), tokenize
    )


async def answer_ids(tokenize: TokenizeText, text: str, vocabulary: Vocabulary, count: int) -> list[int]:
    """Of a text that a model has said with about `count` tokens. Where the vocabulary puts a space in front,
    it is taken to be the model's if that fits better: llama.cpp's parsers cut it off.
    """
    with_space = await tokenize(text, False)
    if not vocabulary.adds_space:
        return with_space
    first, whole = await tokenize(_LINE_END, False), await tokenize(_LINE_END + text, False)
    without_space = whole[len(first) :]
    if whole[: len(first)] != first or abs(len(with_space) - count) < abs(len(without_space) - count):
        return with_space
    return without_space
