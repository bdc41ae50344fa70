"""How an answer that was begun goes on when its worker is gone."""

from __future__ import annotations

import enum

from drover.v1 import engine_pb2 as pb

_NO_PENALTY = {"repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}


class WayOn(enum.Enum):
    CONTINUE = "continue"
    """Another worker takes the tokens that there are and goes on after them."""
    REGENERATE = "regenerate"
    """At temperature 0: it makes them again, and what the client has had is compared."""


class Stuck(enum.Enum):
    """Why there is none, as metrics count it."""

    CONSTRAINED = "constrained"
    PENALTIES = "penalties"
    IMAGES = "images"
    ENGINE = "engine"


def way_on(request: pb.GenerateRequest, can: pb.Capabilities) -> WayOn | Stuck:
    """Of a sampled answer only what does not depend on earlier tokens' state can be continued (issue 5)."""
    stuck = _stuck(request, can)
    if stuck is None:
        return WayOn.CONTINUE
    is_greedy = request.sampling.HasField("temperature") and request.sampling.temperature == 0
    return WayOn.REGENERATE if is_greedy else stuck


def _stuck(request: pb.GenerateRequest, can: pb.Capabilities) -> Stuck | None:
    if not can.resume:
        return Stuck.ENGINE
    if request.WhichOneof("constraint") is not None and not can.resume_constraint:
        return Stuck.CONSTRAINED
    if any(
        request.sampling.HasField(name) and getattr(request.sampling, name) != neutral  # type: ignore[arg-type]
        for name, neutral in _NO_PENALTY.items()
    ):
        return Stuck.PENALTIES
    if request.prompt.images or any(message.images for message in request.chat.messages):
        return Stuck.IMAGES
    return None
