"""How many tokens an answer has cost, all choices together."""

from __future__ import annotations

from collections.abc import Sequence

from drover.v1 import engine_pb2 as pb

NOTHING_USED = b'{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}'


def usage(dones: Sequence[pb.Done], choices_per_prompt: int) -> bytes:
    """`dones`: the choices' ends, those of one prompt beside each other. Each prompt counts once, and of its
    tokens those are cached that no choice had to compute anew.
    """
    prompts = [dones[at : at + choices_per_prompt] for at in range(0, len(dones), choices_per_prompt)]
    prompt_tokens = sum(max(done.prompt_tokens for done in same) for same in prompts)
    cached_tokens = sum(min(done.cached_tokens for done in same) for same in prompts)
    completion_tokens = sum(done.completion_tokens for done in dones)
    reasoning_tokens = sum(done.reasoning_tokens for done in dones)
    return (
        b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,'
        b'"prompt_tokens_details":{"cached_tokens":%d},'
        b'"completion_tokens_details":{"reasoning_tokens":%d}}'
        % (
            prompt_tokens,
            completion_tokens,
            prompt_tokens + completion_tokens,
            cached_tokens,
            reasoning_tokens,
        )
    )
