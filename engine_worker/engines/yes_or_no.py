"""Rerankers that generate: their template asks whether a document answers a query, and the answer is yes or
no. The score is the probability of yes among the two.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.label_scores import MAX_ITEMS
from engine_worker.engines.reranking import Pair, PairModel, Tokenizer, rerank_pairs

_LABELS = ("yes", "no")
# What SGLang recognises Qwen3's rerankers by.
_ASKS = "answer can only be"
_ANSWERS = ('"yes"', '"no"')

Score = Callable[[pb.ScoreRequest], Awaitable[pb.ScoreResponse]]
# The item for a query, a document and an instruction.
Ask = Callable[[str, str, str], pb.ScoreItem]


def asks_yes_or_no(template: str) -> bool:
    """Whether a chat template is that of a reranker."""
    lower = template.lower()
    return _ASKS in lower and all(answer in lower for answer in _ANSWERS)


def as_chat(query: str, document: str, instruction: str) -> pb.ScoreItem:
    """Query and document as two messages of a user, without the instruction: chats have no place for it."""
    item = pb.ScoreItem(labels=_LABELS)
    item.chat.messages.add(role="user", content=query)
    item.chat.messages.add(role="user", content=document)
    return item


def as_text(prompt: str) -> pb.ScoreItem:
    """A prompt that the template has been applied to."""
    return pb.ScoreItem(raw=prompt, labels=_LABELS)


@dataclass(frozen=True, slots=True)
class YesOrNoReranker:
    """`score`: the engine's; `added_tokens`: of the template, around a query and a document."""

    score: Score
    ask: Ask
    tokenizer: Tokenizer
    context_length: int
    added_tokens: int
    takes_instruction: bool

    @classmethod
    async def of(
        cls, score: Score, ask: Ask, tokenizer: Tokenizer, context_length: int, takes_instruction: bool
    ) -> YesOrNoReranker:
        """Measure how many tokens the template has."""
        answer = await score(pb.ScoreRequest(items=[ask("a", "a", "")]))
        added = answer.prompt_tokens - 2 * len(await tokenizer.tokenize("a", False))
        return cls(score, ask, tokenizer, context_length, added, takes_instruction)

    async def rerank(self, request: pb.RerankRequest) -> pb.RerankResponse:
        async def scores(pairs: Sequence[Pair]) -> list[float]:
            found: list[float] = []
            for first in range(0, len(pairs), MAX_ITEMS):
                part = pairs[first : first + MAX_ITEMS]
                items = [item async for item in self._items(part, request.instruction)]
                number = first // MAX_ITEMS
                answer = await self.score(
                    pb.ScoreRequest(
                        request_id=f"{request.request_id}.{number}",
                        items=items,
                        adapter=request.adapter,
                        trace_context=request.trace_context,
                    )
                )
                found += [_probability_of_yes(*result.logprobs) for result in answer.results]
            return found

        model = PairModel(
            tokenizer=self.tokenizer,
            context_length=self.context_length,
            added_tokens=self.added_tokens,
            scores=scores,
            gives_logits=False,
            takes_instruction=self.takes_instruction,
        )
        return await rerank_pairs(request, model)

    async def _items(self, pairs: Sequence[Pair], instruction: str) -> AsyncGenerator[pb.ScoreItem, None]:
        """A template is rendered on the event loop; other requests go on between the documents."""
        for pair in pairs:
            yield self.ask(pair.query, pair.document, instruction)
            await asyncio.sleep(0)


def _probability_of_yes(yes: float, no: float) -> float:
    """Of two log probabilities. 0 where both are impossible."""
    likelier = max(yes, no)
    if not math.isfinite(likelier):
        return 0.0
    powers = math.exp(yes - likelier), math.exp(no - likelier)
    return powers[0] / sum(powers)
