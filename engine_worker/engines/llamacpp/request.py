"""Bodies of requests to llama-server: sampling, limits and grammar."""

from __future__ import annotations

from dataclasses import dataclass

from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp.api import JsonObject
from engine_worker.engines.llamacpp.gguf_sampling import NEUTRAL_SAMPLING
from engine_worker.prompt.window import Window

_SEED_RANGE = 2**32
# Fields of Sampling that llama-server knows by the same name.
_SAME_NAME = {
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "typical_p",
    "presence_penalty",
    "frequency_penalty",
}


@dataclass(frozen=True, slots=True)
class GenerationLimits:
    """`window`: the request's share of the context. `room`: tokens that the slot has left
    after the prompt.
    """

    window: Window
    room: int

    @classmethod
    def of(cls, request: pb.GenerateRequest, prompt_tokens: int, context_length: int) -> GenerationLimits:
        return cls(Window.of(request, context_length), context_length - prompt_tokens)


def completion_body(
    request: pb.GenerateRequest, ids: list[int], slot: int, limits: GenerationLimits, grammar: str = ""
) -> JsonObject:
    """The body for /completion, without stop texts."""
    body: JsonObject = {"prompt": ids, "return_tokens": True, **_generation(request, len(ids), slot, limits)}
    if grammar:
        body["grammar"] = grammar
        # Where the grammar ends the answer, the end token is all that is left to sample.
        body.pop("ignore_eos", None)
    return body


def chat_body(
    request: pb.GenerateRequest, chat: JsonObject, prompt_tokens: int, slot: int, limits: GenerationLimits
) -> JsonObject:
    """The body for /v1/chat/completions. `chat`: the messages and all that shapes prompt and parser.

    Without stop texts: llama-server drops a text at the end of an answer that looks like the beginning of
    one.
    """
    return {
        **chat,
        # Counts and times with each chunk, and the reason of the end with the last one.
        "timings_per_token": True,
        "verbose": True,
        **_generation(request, prompt_tokens, slot, limits),
    }


def stop_texts(request: pb.GenerateRequest) -> list[str]:
    return [stop for stop in request.sampling.stop if stop]


def _generation(
    request: pb.GenerateRequest, prompt_tokens: int, slot: int, limits: GenerationLimits
) -> JsonObject:
    body: JsonObject = {
        "id_slot": slot,
        "stream": True,
        # Sends chunks during prefill; llama-server notices a closed connection only when it writes one.
        "return_progress": True,
        "n_predict": _max_tokens(request.sampling, prompt_tokens, limits),
        **_sampling(request.sampling, prompt_tokens + limits.room),
    }
    if request.HasField("top_logprobs"):
        body["n_probs"] = max(1, request.top_logprobs)
    return body


def _max_tokens(sampling: pb.Sampling, prompt_tokens: int, limits: GenerationLimits) -> int:
    room = limits.room
    if not limits.window.shift:
        room = min(room, limits.window.size - prompt_tokens)
    return max(1, min(sampling.max_tokens, room) if sampling.HasField("max_tokens") else room)


def _sampling(sampling: pb.Sampling, context_length: int) -> JsonObject:
    body: JsonObject = {
        **NEUTRAL_SAMPLING,
        **{field.name: value for field, value in sampling.ListFields() if field.name in _SAME_NAME},
    }
    if sampling.HasField("repeat_last_n"):
        # llama.cpp allocates memory for this number, and refuses negative ones.
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
