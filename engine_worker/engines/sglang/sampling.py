"""From a request's sampling and constraint to SGLang's SamplingParams (ollama-contract.md, "Options")."""

from __future__ import annotations

from dataclasses import dataclass, field

from drover.errors import InvalidRequest
from drover.v1 import engine_pb2 as pb
from engine_worker.prompt.window import Window
from engine_worker.schemas.constraint import Constraint, json_of

_MOST_STOPS = 32
_ALL_TOKENS = -1
_NEUTRAL = {"repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


@dataclass(slots=True)
class Sampled:
    """`not_honoured`: Ollama's names of what the engine does otherwise, or not at all."""

    parameters: dict[str, object] = field(default_factory=dict)
    not_honoured: list[str] = field(default_factory=list)


def sampling_parameters(sampling: pb.Sampling, can_seed: bool, vocabulary_size: int) -> Sampled:
    """In SGLang's words; the numbers are within BOUNDS. Raises InvalidRequest for a bias on a token that does
    not exist.
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
        result.parameters["logit_bias"] = _bias(sampling, vocabulary_size)
    return result


def stop_texts(sampling: pb.Sampling, from_template: list[str]) -> tuple[list[str], list[str]]:
    """Those that SGLang looks for, and those beyond its limit."""
    stops = list(dict.fromkeys(stop for stop in [*sampling.stop, *from_template] if stop))
    return stops[:_MOST_STOPS], stops[_MOST_STOPS:]


def token_limit(sampling: pb.Sampling, prompt_tokens: int, window: Window, context_length: int) -> int:
    """Tokens that an answer may have. SGLang cannot shift its window, so the context is the last limit."""
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
    """`takes_grammars`: the grammar backend reads the EBNF that we write. Raises InvalidRequest where both
    the answer and a call are to be forced.
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
        return {"ebnf": request.ebnf} if request.WhichOneof("constraint") == "ebnf" else {}
    if takes_grammars:
        return {"ebnf": constraint.text}
    if constraint.schema is None:
        return {"regex": request.regex}
    return {"json_schema": json_of(constraint.schema)}


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
    """SGLang looks at the whole answer, where Ollama looks at the last tokens of prompt and answer."""
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
    return [
        name
        for name, neutral in _NEUTRAL.items()
        if sampling.HasField(name) and getattr(sampling, name) not in (neutral, 0.0)  # type: ignore[arg-type]
    ]


def _bias(sampling: pb.Sampling, vocabulary_size: int) -> dict[str, float]:
    for token in sampling.logit_bias:
        if token >= vocabulary_size:
            raise InvalidRequest(
                f"logit_bias: {token} is not a token of this model, which has {vocabulary_size}"
            )
    return {str(token): bias for token, bias in sampling.logit_bias.items()}
