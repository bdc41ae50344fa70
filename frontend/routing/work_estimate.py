"""Estimates of the work of requests for one model, from what earlier ones took."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from frontend.routing.work import PromptSize, Work

# Until a first answer has ended.
_BYTES_PER_TOKEN = 4.0
_GENERATED_TOKENS = 128.0
# Weight of the newest request in moving averages.
_NEWEST_WEIGHT = 0.2
# Shorter prompts are mostly chat template, and say little about the text.
_LEAST_BYTES = 1024
_BYTES_PER_TOKEN_BOUNDS = (0.5, 16.0)
_MAX_CLIENTS = 4096
_MAX_BEGINNINGS = 4096


@dataclass(slots=True)
class _Habits:
    """Moving averages of one client. `cached_share`: of the prompts that begin a conversation; `hit_share`:
    what was cached of what was expected to be, of prompts whose beginning is known.
    """

    generated_tokens: float
    cached_share: float = 0.0
    hit_share: float = 1.0


@dataclass(frozen=True, slots=True)
class _Beginning:
    """What is known of prompts that begin alike. `cached_tokens`: how many tokens of the next one are
    expected in the prefix cache; `differ`: prompts differ after their beginning, so that is all.
    """

    cached_tokens: float
    differ: bool = False

    def after(self, work: Work) -> _Beginning:
        """The same after one more request."""
        expected = min(self.cached_tokens, work.prompt_tokens)
        as_expected = work.cached_tokens > (2 * expected if self.differ else expected / 2)
        return _beginning_of(work) if as_expected else _Beginning(work.cached_tokens, differ=True)


def _beginning_of(work: Work) -> _Beginning:
    return _Beginning(work.prompt_tokens + work.generated_tokens)


class EstimateRequest(NamedTuple):
    """What is known of a request before it runs. `affinity`: key of its prompt's beginning; `most_generated`:
    the client's limit, 0 for what generates nothing, None for none; `most_prompt`: the model's, to which
    longer prompts are truncated, 0 for none.
    """

    client: str
    size: PromptSize
    affinity: bytes | None = None
    most_generated: int | None = None
    most_prompt: int = 0


class WorkEstimator:
    """Learns bytes per token of the model, how much each client generates, and which prompts are cached."""

    def __init__(self) -> None:
        self._bytes_per_token = _BYTES_PER_TOKEN
        self._generated_tokens = _GENERATED_TOKENS
        self._habits: OrderedDict[str, _Habits] = OrderedDict()
        self._beginnings: OrderedDict[bytes, _Beginning] = OrderedDict()
        """By affinity key, the oldest first."""
        self._remembered_tokens = 0.0

    def estimate(self, request: EstimateRequest) -> Work:
        size = request.size
        prompt = size.text_bytes / self._bytes_per_token + size.known_tokens
        if request.most_prompt:
            prompt = min(prompt, request.most_prompt)
        habits = self._habits.get(request.client)
        generated = habits.generated_tokens if habits is not None else self._generated_tokens
        if request.most_generated is not None:
            generated = min(generated, request.most_generated)
        return Work(prompt, self._cached(request, prompt, habits), generated)

    def learn(self, request: EstimateRequest, work: Work, cache_tokens: int = 0) -> None:
        """`work`: what the request took, if it was not ended early; `cache_tokens`: what the prefix caches of
        all workers hold, 0 where that is not known.
        """
        self._learn_size(request.size, work)
        habits = self._habits.pop(request.client, None) or _Habits(work.generated_tokens)
        self._habits[request.client] = habits
        if len(self._habits) > _MAX_CLIENTS:
            self._habits.popitem(last=False)
        if request.most_generated != 0:
            self._generated_tokens += _NEWEST_WEIGHT * (work.generated_tokens - self._generated_tokens)
            habits.generated_tokens += _NEWEST_WEIGHT * (work.generated_tokens - habits.generated_tokens)
        known = self._known(request)
        if work.prompt_tokens and known is None:
            share = work.cached_tokens / work.prompt_tokens
            habits.cached_share += _NEWEST_WEIGHT * (share - habits.cached_share)
        if known is not None and (expected := min(known.cached_tokens, work.prompt_tokens)):
            habits.hit_share += _NEWEST_WEIGHT * (min(1.0, work.cached_tokens / expected) - habits.hit_share)
        if request.affinity is not None:
            beginning = _beginning_of(work) if known is None else known.after(work)
            self._remember(request.affinity, beginning, cache_tokens)

    def _cached(self, request: EstimateRequest, prompt: float, habits: _Habits | None) -> float:
        if (known := self._known(request)) is not None:
            return min(known.cached_tokens, prompt) * (1.0 if habits is None else habits.hit_share)
        return prompt * habits.cached_share if habits is not None else 0.0

    def _known(self, request: EstimateRequest) -> _Beginning | None:
        return self._beginnings.get(request.affinity) if request.affinity is not None else None

    def _remember(self, affinity: bytes, beginning: _Beginning, cache_tokens: int) -> None:
        """Forget the oldest ones beyond what the prefix caches hold: they are probably not there any more."""
        if (old := self._beginnings.pop(affinity, None)) is not None:
            self._remembered_tokens -= old.cached_tokens
        self._beginnings[affinity] = beginning
        self._remembered_tokens += beginning.cached_tokens
        while len(self._beginnings) > _MAX_BEGINNINGS or (
            0 < cache_tokens < self._remembered_tokens and len(self._beginnings) > 1
        ):
            _, oldest = self._beginnings.popitem(last=False)
            self._remembered_tokens -= oldest.cached_tokens

    def _learn_size(self, size: PromptSize, work: Work) -> None:
        tokens = work.prompt_tokens + work.truncated_tokens - size.token_ids
        if size.images or size.text_bytes < _LEAST_BYTES or tokens <= 0:
            return
        least, most = _BYTES_PER_TOKEN_BOUNDS
        seen = min(most, max(least, size.text_bytes / tokens))
        self._bytes_per_token += _NEWEST_WEIGHT * (seen - self._bytes_per_token)
