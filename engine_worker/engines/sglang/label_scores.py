"""Scores labels with SGLang: one prefill of each prompt, and the log probabilities at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

from drover.errors import CapabilityMissing, EngineFailed, InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.label_scores import LabelTokens, can_decide, item_request
from engine_worker.engines.numbers import finite
from engine_worker.engines.sglang.prompt import Prompt, Prompts
from engine_worker.engines.sglang.request import engine_id
from engine_worker.engines.sglang.upstream.calls import Meta, SglangScoreRequest
from engine_worker.engines.sglang.upstream.process import EngineProcess

if TYPE_CHECKING:
    from engine_worker.engines.sglang.upstream.vocabulary import Vocabulary

# A prefix of so many tokens is computed once, before the prompts that share it. Prompts that SGLang prefills
# in one step do not find each other's prefix in its cache.
_WORTH_SHARING = 32


@dataclass(frozen=True, slots=True)
class ScorePrompt:
    """One item: its prompt, and the tokens of its labels."""

    prompt: Prompt
    label_ids: list[int]

    @property
    def ids(self) -> list[int]:
        return self.prompt.fitted.ids


class Scorer:
    """Scores the items of requests to one loaded model."""

    def __init__(self, prompts: Prompts, vocabulary: Vocabulary, has_priorities: bool) -> None:
        self._prompts = prompts
        self._vocabulary = vocabulary
        self._has_priorities = has_priorities

    async def can_decide(self) -> bool:
        """Capabilities.decision."""

        async def ids(request: pb.GenerateRequest) -> list[int]:
            return (await self._prepared(request)).fitted.ids

        return await can_decide(ids, self._label_tokens())

    async def prompts(self, request: pb.ScoreRequest) -> list[ScorePrompt]:
        """Raises InvalidRequest, CapabilityMissing, ContextExceeded."""
        labels, prompts = self._label_tokens(), []
        for item in request.items:
            prompt = await self._prepared(item_request(request, item))
            label_ids = await labels.of(item, prompt.fitted.ids)
            self._check(label_ids)
            prompts.append(ScorePrompt(prompt, label_ids))
        return prompts

    async def score(
        self, request: pb.ScoreRequest, prompts: Sequence[ScorePrompt], process: EngineProcess
    ) -> pb.ScoreResponse:
        """Score all prompts in one call, or the first one before the others if they share its prefix."""
        began_ns = time.perf_counter_ns()
        metas: dict[int, Meta] = {}
        for batch in _batches(prompts):
            ids = [engine_id(f"{request.request_id}.{at}") for at in batch]
            made = self._engine_request(request, [prompts[at] for at in batch], ids)
            metas |= zip(batch, await process.score(made), strict=True)
        response = pb.ScoreResponse()
        for at, prompt in enumerate(prompts):
            meta = metas[at]
            response.results.add(
                logprobs=_logprobs(meta, prompt.label_ids),
                label_ids=prompt.label_ids,
                prompt_tokens=meta["prompt_tokens"],
                prompt_ids=prompt.ids if request.return_prompt_ids else (),
            )
            response.prompt_tokens += meta["prompt_tokens"]
            response.cached_tokens += meta.get("cached_tokens", 0)
        response.timings.prefill_ns = max(1, time.perf_counter_ns() - began_ns)
        return response

    async def _prepared(self, request: pb.GenerateRequest) -> Prompt:
        prompt = await self._prompts.prepare(request)
        rendered = prompt.rendered
        if request.HasField("chat") and (rendered.opens_thinking or rendered.thinking_refused):
            raise CapabilityMissing(
                "this model always thinks before it answers, so its first token is never a label"
            )
        return prompt

    def _label_tokens(self) -> LabelTokens:
        async def encode(text: str) -> list[int]:
            return await self._prompts.encode(text, add_special=False)

        return LabelTokens(encode, self._prompts.decode, self._vocabulary.is_special)

    def _check(self, label_ids: Sequence[int]) -> None:
        for token in label_ids:
            if token >= self._vocabulary.size:
                raise InvalidRequest(
                    f"{token} is not a token of this model, which has {self._vocabulary.size}"
                )

    def _engine_request(
        self, request: pb.ScoreRequest, prompts: Sequence[ScorePrompt], ids: list[str]
    ) -> SglangScoreRequest:
        made = SglangScoreRequest(rid=ids, token_ids_logprob=[each.label_ids for each in prompts])
        if prompts[0].prompt.images:
            made["prompt"] = [each.prompt.rendered.text for each in prompts]
            made["image_data"] = [list(each.prompt.images) for each in prompts]
        else:
            made["input_ids"] = [each.ids for each in prompts]
        if request.priority and self._has_priorities:
            made["priority"] = request.priority
        if request.cache_salt:
            made["cache_salt"] = request.cache_salt
        if request.adapter:
            made["lora_path"] = [request.adapter] * len(prompts)
        if request.trace_context:
            made["external_trace_header"] = dict(request.trace_context)
        return made


def _batches(prompts: Sequence[ScorePrompt]) -> Iterator[Sequence[int]]:
    """Indexes of prompts for one call each. Prompts with images are texts, the others are tokens, and a call
    takes one kind.
    """
    first = len(prompts) > 1 and _shared(prompts[0].ids, prompts[1].ids) >= _WORTH_SHARING
    if first:
        yield [0]
    rest = range(1 if first else 0, len(prompts))
    for with_images in (False, True):
        batch = [at for at in rest if bool(prompts[at].prompt.images) == with_images]
        if batch:
            yield batch


def _logprobs(meta: Meta, label_ids: Sequence[int]) -> list[float]:
    finish = meta.get("finish_reason")
    rows = meta.get("output_token_ids_logprobs")
    if finish is not None and finish.get("type") == "abort":
        raise EngineFailed(f"SGLang aborted the request: {finish.get('message', '')}")
    if not rows:
        raise EngineFailed("SGLang answered without log probabilities")
    found = {token: logprob for logprob, token, _ in rows[0]}
    return [finite(found.get(token)) for token in label_ids]


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both prompts begin with."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
