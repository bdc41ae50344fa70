"""From a request and its prompt to what SGLang is asked."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

from drover.errors import CapabilityMissing
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang import sampling
from engine_worker.engines.sglang.forced_call import ForcedCall
from engine_worker.engines.sglang.own_calls import OwnCalls, own_calls
from engine_worker.engines.sglang.prompt import Limits, Prompt
from engine_worker.engines.sglang.sampling import Sampled
from engine_worker.engines.sglang.upstream.process import Call
from engine_worker.schemas.constraint import Constraint

if TYPE_CHECKING:
    from engine_worker.engines.sglang.upstream.model import LoadedModel

_ID_BYTES = 16


@dataclass(frozen=True, slots=True)
class EngineCall:
    """`own_stops`: the stop texts that SGLang does not look for; `constrained`: a grammar makes the
    answer; `own_calls`: the one that makes calls.
    """

    call: Call
    own_stops: list[str]
    not_honoured: list[str]
    constrained: bool
    own_calls: OwnCalls | None = None


class Calls:
    def __init__(self, loaded: LoadedModel, limits: Limits) -> None:
        self._loaded = loaded
        self._limits = limits

    async def own(
        self, request: pb.GenerateRequest, prompt: Prompt, constraint: Constraint | None
    ) -> OwnCalls | None:
        """Raises what `own_calls` raises."""
        if not prompt.rendered.tools:
            return None
        loaded = self._loaded
        # gpt-oss's calls are in a channel of their own.
        can_make = loaded.can_constrain and loaded.takes_grammars and not loaded.templates.is_harmony
        return await own_calls(request, constraint, loaded.call_markup, can_make)

    def make(
        self,
        request: pb.GenerateRequest,
        prompt: Prompt,
        own: Constraint | None,
        calls: OwnCalls | None = None,
        forced: ForcedCall | None = None,
    ) -> EngineCall:
        """`calls`: under a grammar of ours; `forced`: otherwise, what SGLang forces them with. Raises
        InvalidRequest, and CapabilityMissing for a constraint that cannot go on here.
        """
        sampled = sampling.sampling_parameters(
            request.sampling, self._loaded.can_seed, self._loaded.vocabulary.size
        )
        if prompt.rendered.thinking_refused:
            sampled.not_honoured.append("think")
        theirs, ours = sampling.stop_texts(request.sampling, prompt.rendered.stop)
        constraint: dict[str, object] = (
            {"ebnf": calls.grammar}
            if calls is not None
            else sampling.constraint_parameters(
                request, forced.parameters if forced else None, own, self._loaded.takes_grammars
            )
        )
        if forced is not None and own is None:
            sampled.not_honoured += forced.not_honoured
        if calls is not None:
            sampled.not_honoured += calls.not_honoured
        if own is not None:
            sampled.not_honoured += own.not_honoured
        if request.HasField("continuation"):
            # SGLang would look for them in the new tokens only.
            theirs, ours = [], theirs + ours
            constraint = self._go_on(request, constraint, sampled)
        parameters = sampled.parameters | constraint | self._rest(request, prompt, theirs)
        call = Call(
            rid=engine_id(request.request_id),
            sampling_params=parameters,
            require_reasoning=bool(constraint) and prompt.rendered.thinks,
        )
        _add_input(call, request, prompt)
        self._add_wishes(call, request)
        return EngineCall(call, ours, sampled.not_honoured, bool(constraint), calls)

    def limit(self, request: pb.GenerateRequest, prompt_tokens: int) -> int:
        """Tokens that the whole answer may have."""
        return sampling.token_limit(
            request.sampling, prompt_tokens, self._limits.window(request), self._limits.context_length
        )

    def _rest(self, request: pb.GenerateRequest, prompt: Prompt, stops: list[str]) -> dict[str, object]:
        parameters: dict[str, object] = {
            "max_new_tokens": self._max_new_tokens(request, prompt),
            "skip_special_tokens": prompt.rendered.skip_special_tokens,
            # Texts as they are: Ollama's runner puts no spaces in.
            "spaces_between_special_tokens": False,
        }
        return parameters | {"stop": stops} if stops else parameters

    def _max_new_tokens(self, request: pb.GenerateRequest, prompt: Prompt) -> int | None:
        prompt_tokens = len(prompt.fitted.ids)
        limit = self.limit(request, prompt_tokens)
        if prompt.images and limit >= self._limits.context_length - prompt_tokens:
            # Only SGLang knows what images take of the context; None goes on until it is full.
            return None
        return max(1, limit - len(request.continuation.produced_ids))

    def _go_on(
        self, request: pb.GenerateRequest, constraint: dict[str, object], sampled: Sampled
    ) -> dict[str, object]:
        """Says what does not move with an answer."""
        if constraint and not self._loaded.can_resume_constraint:
            raise CapabilityMissing("an answer under a constraint cannot go on in this engine")
        earlier = request.continuation
        sampled.not_honoured += sampling.active_penalties(request.sampling)
        if request.HasField("top_logprobs") and earlier.logprobs_sent < len(earlier.produced_ids):
            sampled.not_honoured.append("logprobs")
        return self._loaded.resumed(constraint, len(earlier.produced_ids))

    def _add_wishes(self, call: Call, request: pb.GenerateRequest) -> None:
        if request.HasField("top_logprobs"):
            call["return_logprob"] = True
            call["top_logprobs_num"] = request.top_logprobs
        if request.priority and self._loaded.has_priorities:
            call["priority"] = request.priority
        if request.cache_salt:
            call["cache_salt"] = request.cache_salt


def _add_input(call: Call, request: pb.GenerateRequest, prompt: Prompt) -> None:
    if prompt.images:
        call["prompt"] = prompt.rendered.text
        call["image_data"] = list(prompt.images)
    else:
        call["input_ids"] = prompt.fitted.ids + list(request.continuation.produced_ids)


def engine_id(request_id: str) -> str:
    """Of one length always: SGLang aborts every id that begins with the one to be aborted, and takes some
    beginnings for probes of its own.
    """
    return blake2b(request_id.encode(), digest_size=_ID_BYTES).hexdigest()
