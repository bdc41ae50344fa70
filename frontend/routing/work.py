"""What requests cost, in tokens of work, and how large a prompt is before it is tokenised."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from drover.v1 import engine_pb2 as pb

# The ratio that VTC uses (Sheng et al., "Fairness in Serving Large Language Models", OSDI 2024): a generated
# token takes a step of its own, prompt tokens are computed many at a time.
_COST_OF_GENERATED = 2.0
# Of a request whose prompt was cached and that generated nothing: even these are not free in any number.
_LEAST_COST = 1.0
# Vision encoders make some hundreds of tokens of an image.
_TOKENS_PER_IMAGE = 768


class Work(NamedTuple):
    """Tokens of one request, estimated or reported by its worker. `cached_tokens` of the prompt were in the
    prefix cache; `truncated_tokens` are dropped and not part of it.
    """

    prompt_tokens: float = 0.0
    cached_tokens: float = 0.0
    generated_tokens: float = 0.0
    truncated_tokens: float = 0.0

    @property
    def prefill_tokens(self) -> float:
        """Prompt tokens that are computed."""
        return max(0.0, self.prompt_tokens - self.cached_tokens)

    @property
    def cost(self) -> float:
        """In tokens of prefill."""
        return max(_LEAST_COST, self.prefill_tokens + _COST_OF_GENERATED * self.generated_tokens)


NO_WORK = Work()


def work_of(done: pb.Done, started: pb.Started | None) -> Work:
    """The work of a whole answer."""
    truncated = started.truncated_tokens if started is not None else 0
    return Work(done.prompt_tokens, done.cached_tokens, done.completion_tokens, truncated)


def work_until_now(started: pb.Started, generated_tokens: int, estimate: Work) -> Work:
    """The work of an answer that ended early. Workers that do not send the prompt's ids leave its size to
    the estimate.
    """
    if not started.prompt_ids:
        return Work(estimate.prompt_tokens, estimate.cached_tokens, generated_tokens)
    prompt_tokens = len(started.prompt_ids)
    return Work(prompt_tokens, started.cached_tokens, generated_tokens, started.truncated_tokens)


class PromptSize(NamedTuple):
    """A prompt as it is known before it is tokenised. `token_ids`: part of it that comes as tokens."""

    text_bytes: int = 0
    images: int = 0
    token_ids: int = 0

    @property
    def known_tokens(self) -> int:
        """Tokens in addition to those of the text."""
        return self.token_ids + _TOKENS_PER_IMAGE * self.images


def size_of_generation(request: pb.GenerateRequest) -> PromptSize:
    """Sizes are of the messages as they are encoded, which is cheaper to know than the characters."""
    match request.WhichOneof("input"):
        case "chat":
            return _size_of_chat(request.chat)
        case "prompt":
            prompt = request.prompt
            text_bytes = len(prompt.text) + len(prompt.system) + len(prompt.suffix)
            return PromptSize(text_bytes, len(prompt.images), len(prompt.context))
        case "raw":
            return PromptSize(len(request.raw))
        case "tokens":
            return PromptSize(token_ids=len(request.tokens.ids))
        case _:
            return PromptSize()


def size_of_embedding(request: pb.EmbedRequest) -> PromptSize:
    return PromptSize(sum(map(len, request.texts)))


def size_of_scores(request: pb.ScoreRequest) -> PromptSize:
    return _sum(
        _size_of_chat(item.chat)
        if item.chat.messages
        else PromptSize(len(item.raw), token_ids=len(item.tokens.ids))
        for item in request.items
    )


def size_of_rerank(request: pb.RerankRequest) -> PromptSize:
    """A single query is read once for each document."""
    queries, documents = request.queries, request.documents
    of_queries = sum(map(len, queries)) * (len(documents) if len(queries) == 1 else 1)
    return PromptSize(of_queries + sum(map(len, documents)))


def size_of_classification(request: pb.ClassifyRequest) -> PromptSize:
    return _sum(PromptSize(len(each.text), token_ids=len(each.tokens.ids)) for each in request.inputs)


def _size_of_chat(chat: pb.ChatInput) -> PromptSize:
    images = sum(len(message.images) for message in chat.messages)
    if not images:
        return PromptSize(chat.ByteSize())
    texts = sum(len(message.content) + len(message.thinking) for message in chat.messages)
    return PromptSize(texts + sum(tool.ByteSize() for tool in chat.tools), images)


def _sum(sizes: Iterable[PromptSize]) -> PromptSize:
    text_bytes = images = token_ids = 0
    for size in sizes:
        text_bytes += size.text_bytes
        images += size.images
        token_ids += size.token_ids
    return PromptSize(text_bytes, images, token_ids)
