"""Long prompts, and how many of them may run so that short ones get their first token soon.

An engine computes prompts in the order in which they came, some hundreds or thousands of tokens in a step. A
prompt of 30,000 tokens takes all of these steps for seconds, and every prompt behind it waits.
"""

from __future__ import annotations

from dataclasses import dataclass

from frontend.routing.work import Work

# Prefill of this many times the shortest long prompt may be outstanding at a worker when it gets another one:
# where long prompts are not much longer than short ones, a step has room for several.
_OUTSTANDING = 2
# Without short prompts one more waits there, so that the engine has something to compute for the time of a
# round trip.
_PREFILLS_WITHOUT_SHORT = 2


@dataclass(frozen=True, slots=True)
class LongPrompts:
    """`short_tokens`: a prompt is long from so many tokens on that are expected not to be cached; 0: none is.
    `reserved_percent`: share of the workers, and of each worker's places and KV cache, that long prompts
    leave to short ones.
    """

    short_tokens: int
    reserved_percent: int

    def is_long(self, estimate: Work) -> bool:
        return 0 < self.short_tokens <= estimate.prefill_tokens

    def may_prefill(self, prefills: int, tokens: float, has_short: bool) -> bool:
        """Whether a worker may get one more: so many long prompts, of so many tokens, are there and not
        computed yet.
        """
        most = 1 if has_short else _PREFILLS_WITHOUT_SHORT
        return prefills < most or tokens < _OUTSTANDING * self.short_tokens

    def share_of(self, whole: float) -> float:
        """What of so many places, workers or tokens is not reserved."""
        return whole * (100 - self.reserved_percent) / 100


NO_LONG_PROMPTS = LongPrompts(0, 0)
