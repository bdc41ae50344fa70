"""Strategies to resume a partly delivered response when its worker is lost."""

from __future__ import annotations

import enum

from drover.v1 import engine_pb2 as pb


class ResumeStrategy(enum.Enum):
    CONTINUE = "continue"
    """Another worker is given the tokens produced so far and decodes what follows them."""
    REGENERATE = "regenerate"
    """Temperature 0: another worker produces the same tokens again; what the client has is compared and
    dropped.
    """


class NotResumable(enum.Enum):
    """Why a request has no strategy. The values are a metric's labels."""

    CONSTRAINED = "constrained"
    PENALTIES = "penalties"
    IMAGES = "images"
    ENGINE = "engine"


def choose_resume_strategy(
    request: pb.GenerateRequest, can: pb.Capabilities
) -> ResumeStrategy | NotResumable:
    """CONTINUE if decoding depends on nothing but the tokens so far. A request that keeps other state (a
    constraint, penalties, images) is regenerated, which gives the same tokens at temperature 0 only.
    """
    obstacle = _obstacle(request, can)
    if obstacle is None:
        return ResumeStrategy.CONTINUE
    is_greedy = request.sampling.HasField("temperature") and request.sampling.temperature == 0
    return ResumeStrategy.REGENERATE if is_greedy else obstacle


def _obstacle(request: pb.GenerateRequest, can: pb.Capabilities) -> NotResumable | None:
    """Why the request cannot be continued, None if it can."""
    if not can.resume:
        return NotResumable.ENGINE
    if request.WhichOneof("constraint") is not None and not can.resume_constraint:
        return NotResumable.CONSTRAINED
    if _has_penalties(request.sampling):
        return NotResumable.PENALTIES
    if request.prompt.images or any(message.images for message in request.chat.messages):
        return NotResumable.IMAGES
    return None


def _has_penalties(sampling: pb.Sampling) -> bool:
    """Whether logits depend on the output so far. A field that is not set reads as 0."""
    repeats = sampling.HasField("repeat_penalty") and sampling.repeat_penalty != 1
    return repeats or sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
