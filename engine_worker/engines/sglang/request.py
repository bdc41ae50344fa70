"""Build a request to SGLang: sampling parameters, stop texts, constraint and input.

The parameters that requests have are in docs/reference/ollama-contract.md, "Options".
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING

from drover.errors import CapabilityMissing, InvalidRequest
from drover.thinking import needs_template
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.sglang.call_grammars import CallGrammar, ForcedCall, call_grammar
from engine_worker.engines.sglang.prompt import Limits, Prompt
from engine_worker.engines.sglang.upstream.calls import SglangRequest
from engine_worker.prompt.window import Window
from engine_worker.schemas.constraint import Constraint, json_of
from engine_worker.schemas.custom_input import not_enforced

if TYPE_CHECKING:
    from engine_worker.engines.sglang.upstream.model import LoadedModel
    from engine_worker.engines.sglang.upstream.templates import Rendered

_ID_BYTES = 16
_MAX_STOPS = 32
_WITHOUT_TEMPLATE = ("raw", "tokens")
_ALL_TOKENS = -1
_NEUTRAL = {"repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What SGLang is asked, and what reading its output needs to know of that.

    `own_stops` are the stop texts that SGLang does not look for. `constrained` is True if a grammar makes the
    answer; `call_grammar` is the grammar of Drover's that makes the tool calls, if any. `not_honoured` are
    Ollama's names of the options that the engine ignores or reads differently.
    """

    sglang: SglangRequest
    own_stops: list[str]
    not_honoured: list[str]
    constrained: bool
    call_grammar: CallGrammar | None = None


class RequestBuilder:
    """Builds the EngineRequest of each request to one loaded model."""

    def __init__(self, loaded: LoadedModel, limits: Limits) -> None:
        self._loaded = loaded
        self._limits = limits

    async def call_grammar(
        self, request: pb.GenerateRequest, prompt: Prompt, constraint: Constraint | None
    ) -> CallGrammar | None:
        """Raises what `call_grammar` of call_grammars.py raises."""
        if not prompt.rendered.tools:
            return None
        loaded = self._loaded
        # gpt-oss's calls are in a channel of their own.
        can_make = loaded.can_constrain and loaded.takes_grammars and not loaded.templates.is_harmony
        return await call_grammar(request, constraint, loaded.call_markup, can_make)

    def build(
        self,
        request: pb.GenerateRequest,
        prompt: Prompt,
        own: Constraint | None,
        calls: CallGrammar | None = None,
        forced: ForcedCall | None = None,
    ) -> EngineRequest:
        """`own` constrains the answer, `calls` the tool calls by a grammar of Drover's, and `forced`, without
        `calls`, by one of SGLang's.

        Raises InvalidRequest, and CapabilityMissing for a constraint that cannot be resumed here.
        """
        sampled = sampling_parameters(request.sampling, self._loaded.can_seed, self._loaded.vocabulary.size)
        if prompt.rendered.thinking_refused:
            sampled.not_honoured.append("think")
        sglang_stops, own_stops = stop_texts(request.sampling, prompt.rendered.stop)
        constraint: dict[str, object] = (
            {"ebnf": calls.grammar}
            if calls is not None
            else constraint_parameters(
                request, forced.parameters if forced else None, own, self._loaded.takes_grammars
            )
        )
        if forced is not None and own is None:
            sampled.not_honoured += forced.not_honoured
        sampled.not_honoured += not_enforced(request.chat.tools) if calls is None else calls.not_honoured
        if own is not None:
            sampled.not_honoured += own.not_honoured
        if request.HasField("continuation"):
            # SGLang would look for them in the new tokens only.
            sglang_stops, own_stops = [], sglang_stops + own_stops
            constraint = self._resume(request, constraint, sampled)
        parameters = sampled.parameters | constraint | self._limit_parameters(request, prompt, sglang_stops)
        if constraint:
            # Where the grammar ends the answer, the end token is all that is left to sample.
            sampled.not_honoured += _of_the_end(request.sampling)
        elif request.sampling.min_tokens and not request.sampling.ignore_eos:
            parameters["min_new_tokens"] = _min_new_tokens(request, parameters["max_new_tokens"])
        if request.WhichOneof("input") in _WITHOUT_TEMPLATE and needs_template(request):
            sampled.not_honoured.append("chat_template_kwargs")
        sglang = SglangRequest(
            rid=engine_id(request.request_id),
            sampling_params=parameters,
            require_reasoning=bool(constraint) and prompt.rendered.thinks,
        )
        _add_input(sglang, request, prompt)
        self._add_options(sglang, request)
        return EngineRequest(sglang, own_stops, sampled.not_honoured, bool(constraint), calls)

    def token_limit(self, request: pb.GenerateRequest, prompt_tokens: int) -> int:
        """Most tokens of the whole answer, those of earlier attempts included."""
        return token_limit(
            request.sampling, prompt_tokens, self._limits.window(request), self._limits.context_length
        )

    def _limit_parameters(
        self, request: pb.GenerateRequest, prompt: Prompt, stops: list[str]
    ) -> dict[str, object]:
        parameters: dict[str, object] = {
            "max_new_tokens": self._max_new_tokens(request, prompt),
            "skip_special_tokens": skips_special_tokens(request, prompt.rendered),
            # Texts as they are: Ollama's runner puts no spaces in.
            "spaces_between_special_tokens": False,
        }
        return parameters | {"stop": stops} if stops else parameters

    def _max_new_tokens(self, request: pb.GenerateRequest, prompt: Prompt) -> int | None:
        prompt_tokens = len(prompt.fitted.ids)
        limit = self.token_limit(request, prompt_tokens)
        if prompt.images and limit >= self._limits.context_length - prompt_tokens:
            # Only SGLang knows how many tokens images take; with None it generates until the context is full.
            return None
        return max(1, limit - len(request.continuation.produced_ids))

    def _resume(
        self, request: pb.GenerateRequest, constraint: dict[str, object], sampled: Sampled
    ) -> dict[str, object]:
        """The constraint of a resumed answer. What a resumed answer loses is added to `not_honoured`."""
        if constraint and not self._loaded.can_resume_constraint:
            raise CapabilityMissing("this engine cannot resume an answer under a constraint")
        earlier = request.continuation
        sampled.not_honoured += active_penalties(request.sampling)
        if request.HasField("top_logprobs") and earlier.logprobs_sent < len(earlier.produced_ids):
            sampled.not_honoured.append("logprobs")
        return self._loaded.resumed(constraint, len(earlier.produced_ids))

    def _add_options(self, sglang: SglangRequest, request: pb.GenerateRequest) -> None:
        if request.HasField("top_logprobs"):
            sglang["return_logprob"] = True
            sglang["top_logprobs_num"] = request.top_logprobs
        if request.priority and self._loaded.has_priorities:
            sglang["priority"] = request.priority
        if request.cache_salt:
            sglang["cache_salt"] = request.cache_salt
        if request.adapter:
            # A name: adapters are loaded under their digests. Each has a prefix cache of its own.
            sglang["lora_path"] = request.adapter
        if request.trace_context:
            sglang["external_trace_header"] = dict(request.trace_context)


def skips_special_tokens(request: pb.GenerateRequest, rendered: Rendered) -> bool:
    return rendered.skip_special_tokens and not request.sampling.show_special_tokens


def _of_the_end(sampling: pb.Sampling) -> list[str]:
    """Names of the fields that are set and keep an answer from its end."""
    named = (("min_tokens", sampling.min_tokens > 0), ("ignore_eos", sampling.ignore_eos))
    return [name for name, is_set in named if is_set]


def _min_new_tokens(request: pb.GenerateRequest, max_new_tokens: object) -> int:
    """What is left of the minimum in a resumed answer; SGLang refuses more than the maximum."""
    least = max(0, request.sampling.min_tokens - len(request.continuation.produced_ids))
    return min(least, max_new_tokens) if isinstance(max_new_tokens, int) else least


def _add_input(sglang: SglangRequest, request: pb.GenerateRequest, prompt: Prompt) -> None:
    if prompt.images:
        sglang["prompt"] = prompt.rendered.text
        sglang["image_data"] = list(prompt.images)
    else:
        sglang["input_ids"] = prompt.fitted.ids + list(request.continuation.produced_ids)


def engine_id(request_id: str) -> str:
    """A request id of fixed length.

    SGLang aborts every id that begins with the one to be aborted, and takes some beginnings for its own
    health probes.
    """
    return blake2b(request_id.encode(), digest_size=_ID_BYTES).hexdigest()


@dataclass(slots=True)
class Sampled:
    """SGLang's sampling parameters, and the options (Ollama's names) that are not honoured."""

    parameters: dict[str, object] = field(default_factory=dict)
    not_honoured: list[str] = field(default_factory=list)


def sampling_parameters(sampling: pb.Sampling, can_seed: bool, vocabulary_size: int) -> Sampled:
    """Translate sampling options, whose numbers are within BOUNDS, to SGLang's names.

    Raises InvalidRequest for a token that does not exist.
    """
    result = Sampled()
    _distribution(sampling, result)
    _penalties(sampling, result)
    if sampling.HasField("seed") and sampling.seed >= 0 and result.parameters.get("temperature") != 0:
        if can_seed:
            result.parameters["sampling_seed"] = sampling.seed
        else:
            result.not_honoured.append("seed")
    if sampling.ignore_eos:
        result.parameters["ignore_eos"] = True
    if sampling.logit_bias:
        _check_tokens("logit_bias", sampling.logit_bias, vocabulary_size)
        result.parameters["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.stop_token_ids:
        _check_tokens("stop_token_ids", sampling.stop_token_ids, vocabulary_size)
        result.parameters["stop_token_ids"] = list(sampling.stop_token_ids)
    return result


def stop_texts(sampling: pb.Sampling, from_template: list[str]) -> tuple[list[str], list[str]]:
    """The stop texts that SGLang looks for, and those beyond its limit."""
    stops = list(dict.fromkeys(stop for stop in [*sampling.stop, *from_template] if stop))
    return stops[:_MAX_STOPS], stops[_MAX_STOPS:]


def token_limit(sampling: pb.Sampling, prompt_tokens: int, window: Window, context_length: int) -> int:
    """Most tokens of an answer. SGLang cannot shift its window, so the context always limits it."""
    room = context_length - prompt_tokens
    if not window.shift:
        room = min(room, window.size - prompt_tokens)
    return max(1, min(sampling.max_tokens, room) if sampling.HasField("max_tokens") else room)


def constraint_parameters(
    request: pb.GenerateRequest,
    forced_call: dict[str, object] | None,
    constraint: Constraint | None,
    takes_grammars: bool,
) -> dict[str, object]:
    """The grammar of an answer, or what forces a tool call (`forced_call`).

    `takes_grammars` is True if SGLang's grammar backend reads the EBNF that Drover writes. Raises
    InvalidRequest if both the answer and a call are to be forced.
    """
    own = _own_constraint(request, constraint, takes_grammars)
    if forced_call is None:
        return own
    if own:
        if request.tool_choice.mode in (pb.ToolChoice.REQUIRED, pb.ToolChoice.NAMED):
            raise InvalidRequest("a forced tool call and a format for the answer exclude each other")
        return own
    return forced_call


def _own_constraint(
    request: pb.GenerateRequest, constraint: Constraint | None, takes_grammars: bool
) -> dict[str, object]:
    if constraint is None:
        return {}
    if takes_grammars:
        return {"ebnf": constraint.text}
    if constraint.schema is not None:
        return {"json_schema": json_of(constraint.schema)}
    kind = request.WhichOneof("constraint")
    if kind == "structural_tag":
        raise CapabilityMissing("structural tags need SGLang's grammar backend xgrammar")
    return {"ebnf": request.ebnf} if kind == "ebnf" else {"regex": request.regex}


def _distribution(sampling: pb.Sampling, result: Sampled) -> None:
    parameters = result.parameters
    if sampling.HasField("temperature"):
        parameters["temperature"] = sampling.temperature
    if sampling.HasField("top_k"):
        parameters["top_k"] = sampling.top_k if sampling.top_k > 0 else _ALL_TOKENS
    if sampling.HasField("top_p"):
        parameters["top_p"] = sampling.top_p
    if sampling.HasField("min_p"):
        parameters["min_p"] = sampling.min_p
    if sampling.HasField("typical_p") and 0.0 < sampling.typical_p < 1.0:
        result.not_honoured.append("typical_p")


def _penalties(sampling: pb.Sampling, result: Sampled) -> None:
    """SGLang applies penalties to the whole answer, Ollama to the last tokens of prompt and answer."""
    repeat = sampling.repeat_penalty if sampling.HasField("repeat_penalty") else 1.0
    looks_back = not sampling.HasField("repeat_last_n") or sampling.repeat_last_n != 0
    if repeat != 1.0 and looks_back:
        result.parameters["repetition_penalty"] = repeat
        if sampling.HasField("repeat_last_n") and sampling.repeat_last_n > 0:
            result.not_honoured.append("repeat_last_n")
    for name in ("presence_penalty", "frequency_penalty"):
        value = getattr(sampling, name)
        if value and looks_back:
            result.parameters[name] = value


def active_penalties(sampling: pb.Sampling) -> list[str]:
    """Names of the penalties that change the distribution."""
    return [
        name
        for name, neutral in _NEUTRAL.items()
        if sampling.HasField(name) and getattr(sampling, name) not in (neutral, 0.0)  # type: ignore[arg-type]  # protobuf stubs want literal names
    ]


def _check_tokens(field: str, tokens: Iterable[int], vocabulary_size: int) -> None:
    for token in tokens:
        if token >= vocabulary_size:
            raise InvalidRequest(
                f"{field}: {token} is not a token of this model, which has {vocabulary_size}"
            )
