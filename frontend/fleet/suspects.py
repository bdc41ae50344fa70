"""On which requests' account a worker has stopped.

A worker stops because of the machine, the engine, or one of its requests, and from outside these look alike.
A request that stopped one worker would stop the next one too, so a suspect is not sent to another worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from drover.errors import EngineStalled, WorkerUnreachable
from drover.v1 import engine_pb2 as pb

_FORCED = (pb.ToolChoice.REQUIRED, pb.ToolChoice.NAMED)


class InFlight(Protocol):
    """A request at a worker, as its frontend knows it. `request`: None for a call that is no generation;
    `has_output`: something of its answer has come; `stalls`: how many workers have stopped with it.
    """

    request: pb.GenerateRequest | None
    has_output: bool
    stalls: int


Request = TypeVar("Request", bound=InFlight)


def suspects(in_flight: Sequence[Request]) -> Sequence[Request]:
    """Of the requests that the engine had when it stopped.

    First those without output, which were being prepared or in prefill, those under a constraint, and those
    that have seen another worker stop; if there are none, those with tools or images, whose parsers and
    encoders may be to blame; else the only one there is. Several plain streams that were going well are no
    suspects, and each of them may go on elsewhere once.
    """
    first = [one for one in in_flight if one.stalls or not one.has_output or _is_constrained(one.request)]
    if first:
        return first
    second = [one for one in in_flight if _has_extras(one.request)]
    if second:
        return second
    return in_flight if len(in_flight) == 1 else ()


def _is_constrained(request: pb.GenerateRequest | None) -> bool:
    if request is None:
        return False
    return request.WhichOneof("constraint") is not None or request.tool_choice.mode in _FORCED


def _has_extras(request: pb.GenerateRequest | None) -> bool:
    if request is None:
        return False
    messages = request.chat.messages
    return bool(request.chat.tools or request.prompt.images or any(each.images for each in messages))


def lost_worker(reason: str) -> WorkerUnreachable:
    return WorkerUnreachable(f"the worker was lost: {reason}")


def stalled_worker(reason: str) -> EngineStalled:
    return EngineStalled(
        f"the worker stopped while it had this request ({reason}), and the request may be the cause: it was "
        "not sent to another worker. A simpler schema, fewer tools or images, or a shorter prompt may help"
    )
