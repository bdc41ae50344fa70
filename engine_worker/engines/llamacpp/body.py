"""From a request's sampling and constraint to what llama-server is asked for."""

from __future__ import annotations

from drover.errors import CapabilityMissing
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.answer_grammar import Syntax
from engine_worker.engines.llamacpp.api import Json
from engine_worker.engines.llamacpp.gguf_sampling import NEUTRAL
from engine_worker.prompt.window import Window
from engine_worker.schemas.constraint import Constraint, constraint_of

_SEED_RANGE = 2**32
_SAME_NAME = {
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "presence_penalty",
    "frequency_penalty",
}


def completion_body(
    request: pb.GenerateRequest,
    ids: list[int],
    slot: int,
    window: Window,
    room: int,
    constraint: Constraint | None = None,
    own_grammar: str | None = None,
) -> Json:
    """For /completion. `room`: tokens that the slot has left after the prompt. With a grammar of our own, be
    it empty, our parsers read the answer and look for stop texts: in a call they would break it.
    """
    body: Json = {
        "prompt": ids,
        "return_tokens": True,
        **_generation(request, len(ids), slot, window, room),
    }
    grammar = own_grammar if own_grammar is not None else constraint.text if constraint is not None else ""
    if grammar:
        body["grammar"] = grammar
        # The grammar says where the answer ends; nothing else is left to sample there.
        body.pop("ignore_eos", None)
    if own_grammar is not None:
        # What has been counted when a stop text of ours ends the answer.
        return {**body, "timings_per_token": True}
    if stops := stop_texts(request):
        body["stop"] = stops
    return body


def chat_body(
    request: pb.GenerateRequest, turn: Json, prompt_tokens: int, slot: int, window: Window, room: int
) -> Json:
    """For /v1/chat/completions. `turn`: the messages and all that shapes the prompt and the parser.

    Without stop texts: at the end of an answer llama-server keeps what looked like the beginning of one.
    """
    return {
        **turn,
        # Counts and times with each chunk, and in the last one why the answer ended.
        "timings_per_token": True,
        "verbose": True,
        **_generation(request, prompt_tokens, slot, window, room),
    }


def stop_texts(request: pb.GenerateRequest) -> list[str]:
    return [stop for stop in request.sampling.stop if stop]


def _generation(
    request: pb.GenerateRequest, prompt_tokens: int, slot: int, window: Window, room: int
) -> Json:
    body: Json = {
        "id_slot": slot,
        "stream": True,
        # Without it no chunk comes during prefill, and only by chunks a closed connection is noticed.
        "return_progress": True,
        "cache_prompt": not request.cache_salt,
        "n_predict": _limit(request.sampling, prompt_tokens, window, room),
        **_sampling(request.sampling, prompt_tokens + room),
    }
    if request.HasField("top_logprobs"):
        body["n_probs"] = max(1, request.top_logprobs)
    return body


def _limit(sampling: pb.Sampling, prompt_tokens: int, window: Window, room: int) -> int:
    if not window.shift:
        room = min(room, window.size - prompt_tokens)
    return max(1, min(sampling.max_tokens, room) if sampling.HasField("max_tokens") else room)


def _sampling(sampling: pb.Sampling, context_length: int) -> Json:
    body: Json = {
        **NEUTRAL,
        **{field.name: value for field, value in sampling.ListFields() if field.name in _SAME_NAME},
    }
    if sampling.HasField("repeat_last_n"):
        # llama.cpp reserves memory for the number as it is given, and refuses negative ones.
        wanted = sampling.repeat_last_n
        body["repeat_last_n"] = context_length if wanted < 0 else min(wanted, context_length)
    if sampling.HasField("repeat_penalty") and sampling.repeat_penalty > 0:
        body["repeat_penalty"] = sampling.repeat_penalty
    if sampling.HasField("seed") and sampling.seed >= 0:
        body["seed"] = sampling.seed % _SEED_RANGE
    if sampling.logit_bias:
        body["logit_bias"] = [[token, bias] for token, bias in sampling.logit_bias.items()]
    if sampling.ignore_eos:
        body["ignore_eos"] = True
    return body


async def read_constraint(request: pb.GenerateRequest, syntax: Syntax) -> Constraint | None:
    """Raises ConstraintRejected, and CapabilityMissing for what llama.cpp does not get from us."""
    kind = request.WhichOneof("constraint")
    if kind in ("regex", "ebnf"):
        raise CapabilityMissing(f"this engine does not support {kind} constraints")
    return await constraint_of(request, syntax.written)
