"""Scores labels with llama-server: the log probabilities of one token that is generated and thrown away.

llama.cpp (b11549) reports log probabilities over the whole vocabulary, before any sampler: of the most likely
tokens, as many as are asked for. Labels that are not among those are read from a second answer with all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from drover.errors import EngineFailed
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.label_scores import ScorePrompt
from engine_worker.engines.llamacpp.api import JsonObject, LlamaApi
from engine_worker.engines.llamacpp.chunks import PrefillProgress, timings_of
from engine_worker.engines.llamacpp.slots import HeldSlot
from engine_worker.engines.llamacpp.vocabulary import Vocabulary
from engine_worker.engines.numbers import finite

_LIKELY_TOKENS = 1000
# Makes a token the one that is sampled. It does not change the log probabilities that are reported.
_CERTAIN = 1e6
_ANY_TEXT = "A"


@dataclass(slots=True)
class Scored:
    """The log probabilities of one item's labels, and what its prefill took."""

    logprobs: list[float]
    cached_tokens: int
    timings: pb.Timings


@dataclass(frozen=True, slots=True)
class LabelScorer:
    """Scores the items of one request one after the other in its slot, where each finds the prefix of the
    last one. `more`: members of each body.
    """

    api: LlamaApi
    slot: HeldSlot
    vocabulary: Vocabulary
    report: pb.LoadReport
    more: JsonObject = field(default_factory=dict)

    async def score(self, ids: list[int], label_ids: Sequence[int], use_cache: bool) -> Scored:
        """`use_cache`: what the slot holds may be reused."""
        shown = await self._shown(label_ids)
        likely, timings = await self._probabilities(ids, shown, _LIKELY_TOKENS, use_cache)
        scored = Scored([], int(timings.get("cache_n", 0)), timings_of(timings, 0))
        if not all(token in likely for token in label_ids):
            likely, timings = await self._probabilities(ids, shown, self.vocabulary.size, use_cache=True)
            scored.timings.prefill_ns += timings_of(timings, 0).prefill_ns
        scored.logprobs = [finite(likely.get(token)) for token in label_ids]
        return scored

    async def _shown(self, label_ids: Sequence[int]) -> int:
        """A token to sample. One without text, for example the end of the sequence, has no chunk and with it
        no probabilities.
        """
        without_text = self.vocabulary.hidden
        for token in label_ids:
            if token not in without_text and token not in self.vocabulary.bytes_of:
                return token
        return (await self.api.tokenize_now(_ANY_TEXT, add_special=False))[-1]

    async def _probabilities(
        self, ids: list[int], shown: int, count: int, use_cache: bool
    ) -> tuple[Mapping[int, float | None], Mapping[str, float]]:
        """Log probabilities by token of the `count` most likely tokens, and llama.cpp's timings."""
        body: JsonObject = {
            "prompt": ids,
            "id_slot": self.slot.number,
            # As for an answer: llama-server notices a closed connection only when it writes a chunk.
            "stream": True,
            "return_progress": True,
            "cache_prompt": use_cache,
            "n_predict": 1,
            "n_probs": count,
            "temperature": 0,
            "logit_bias": [[shown, _CERTAIN]],
            **self.more,
        }
        found: Mapping[int, float | None] = {}
        progress = PrefillProgress(self.report)
        self.slot.was_used = self.slot.is_idle = False
        async with self.api.stream("/completion", body) as arrivals:
            async for chunks in arrivals:
                self.slot.was_used = True
                for chunk in chunks:
                    progress.update(chunk)
                    found = _probabilities_of(chunk) or found
                    if not chunk.get("stop"):
                        continue
                    timings = cast("dict[str, float]", chunk["timings"])
                    self.slot.ids, self.slot.tokens = ids, len(ids)
                    self.slot.is_idle = True
                    progress.finish(len(ids) - int(timings.get("cache_n", 0)))
                    if not found:
                        raise EngineFailed("llama.cpp answered without log probabilities")
                    return found, timings
        raise EngineFailed("llama.cpp's stream ended without a stop chunk")


async def score_items(
    prompts: Sequence[ScorePrompt], scorer: LabelScorer, use_cache: bool, queue_ns: int, with_ids: bool
) -> pb.ScoreResponse:
    """`use_cache`: the first prompt may reuse what the slot holds; the others always find the one before.
    `with_ids`: the results have the prompts' tokens.
    """
    response = pb.ScoreResponse(timings=pb.Timings(queue_ns=queue_ns))
    for number, prompt in enumerate(prompts):
        scored = await scorer.score(prompt.ids, prompt.label_ids, use_cache or number > 0)
        response.results.add(
            logprobs=scored.logprobs,
            label_ids=prompt.label_ids,
            prompt_tokens=len(prompt.ids),
            prompt_ids=prompt.ids if with_ids else (),
        )
        response.prompt_tokens += len(prompt.ids)
        response.cached_tokens += scored.cached_tokens
        response.timings.prefill_ns += scored.timings.prefill_ns
    return response


def _probabilities_of(chunk: JsonObject) -> Mapping[int, float | None]:
    found: dict[int, float | None] = {}
    for entry in cast("list[JsonObject]", chunk.get("completion_probabilities") or []):
        for each in (entry, *cast("list[JsonObject]", entry["top_logprobs"])):
            found[cast(int, each["id"])] = cast("float | None", each["logprob"])
    return found
