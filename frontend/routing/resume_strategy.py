"""How an answer that was begun goes on when its worker is gone."""

from __future__ import annotations

import enum

from drover.v1 import engine_pb2 as pb


class ResumeStrategy(enum.Enum):
    CONTINUE = "continue"
    """Another worker takes the tokens that there are and goes on after them."""
    REGENERATE = "regenerate"
    """At temperature 0: it makes them again, and what the client has had is compared."""


class NotResumable(enum.Enum):
    """Why there is none, as metrics count it."""

    CONSTRAINED = "constrained"
    PENALTIES = "penalties"
    IMAGES = "images"
    ENGINE = "engine"


def choose_resume_strategy(
    request: pb.GenerateRequest, can: pb.Capabilities
) -> ResumeStrategy | NotResumable:
    """Of a sampled answer only what does not depend on earlier tokens' state can be continued."""
    stuck = _stuck(request, can)
    if stuck is None:
        return ResumeStrategy.CONTINUE
    is_greedy = request.sampling.HasField("temperature") and request.sampling.temperature == 0
    return ResumeStrategy.REGENERATE if is_greedy else stuck


def _stuck(request: pb.GenerateRequest, can: pb.Capabilities) -> NotResumable | None:
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
    """Over the output. A field that is not set reads as 0."""
    repeats = sampling.HasField("repeat_penalty") and sampling.repeat_penalty != 1
    return repeats or sampling.presence_penalty != 0 or sampling.frequency_penalty != 0
