"""Requests that stopped a worker: which ones are suspects, and which are refused when they come again."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Protocol, TypeVar

from google.protobuf.message import Message

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


_REMEMBERED_SECONDS = 600.0
_MOST = 256
# They say nothing of what an engine has to do.
_OF_AN_ATTEMPT = ("request_id", "priority", "cache_salt", "keep_alive_ns", "continuation", "whole")


class StalledRequests:
    """Digests of requests, for ten minutes each. Costs nothing while there are none.

    A request may be several messages: each text to tokenise is one. Without any it is not remembered.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def add(self, *request: Message) -> None:
        if not request:
            return
        digest = _digest(request)
        self._until[digest] = self._now() + _REMEMBERED_SECONDS
        self._until.move_to_end(digest)
        while len(self._until) > _MOST:
            self._until.popitem(last=False)

    def check(self, *request: Message) -> None:
        """Raises EngineStalled for one that is known."""
        self._forget()
        if self._until and _digest(request) in self._until:
            raise EngineStalled(
                "a worker stopped while it had this same request, and no other one could be the cause: it is "
                "not tried again for some minutes. A simpler schema, fewer tools or images, or a shorter "
                "prompt may help"
            )

    def _forget(self) -> None:
        """Those whose time is over, which are the first."""
        while self._until and next(iter(self._until.values())) <= self._now():
            self._until.popitem(last=False)


def _digest(request: Sequence[Message]) -> bytes:
    digest = blake2b(digest_size=16)
    for message in request:
        same = type(message)()
        same.CopyFrom(message)
        for name in _OF_AN_ATTEMPT:
            if name in same.DESCRIPTOR.fields_by_name:
                same.ClearField(name)
        content = same.SerializeToString(deterministic=True)
        digest.update(f"{same.DESCRIPTOR.full_name} {len(content)} ".encode())
        digest.update(content)
    return digest.digest()
