"""Requests under which a worker stalled: which ones are suspects, and which are refused when sent again."""

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
    """A request at a worker. `request`: None for embeddings; `has_output`: tokens of it have come; `stalls`:
    how many workers have stalled under it before.
    """

    request: pb.GenerateRequest | None
    has_output: bool
    stalls: int


Request = TypeVar("Request", bound=InFlight)


def suspects(in_flight: Sequence[Request]) -> Sequence[Request]:
    """Choose suspects among the requests that the engine had when it stalled.

    First those without output (in preparation or prefill), those with a constraint, and those under which
    another worker stalled before; if there are none, those with tools or images, whose parsers and encoders
    may be the cause; else the request, if there is only one. Several plain streams with output are not
    suspects: each of them may fail over, once.
    """
    likely = [one for one in in_flight if one.stalls or not one.has_output or _is_constrained(one.request)]
    if likely:
        return likely
    possible = [one for one in in_flight if _has_extras(one.request)]
    if possible:
        return possible
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
_MAX_REMEMBERED = 256
# Fields that differ between attempts of one request, or do not change the engine's work.
_IGNORED_FIELDS = (
    "request_id", "priority", "cache_salt", "keep_alive_ns", "continuation", "whole", "routing_key",
    "trace_context",
)  # fmt: skip


class StalledRequests:
    """Digests of requests under which a worker stalled, each kept for ten minutes. Free of cost while empty.

    A request may be several messages (each text to tokenise is one); one without any is not remembered.
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
        while len(self._until) > _MAX_REMEMBERED:
            self._until.popitem(last=False)

    def check(self, *request: Message) -> None:
        """Raises EngineStalled if a worker stalled under this request before."""
        self._drop_expired()
        if self._until and _digest(request) in self._until:
            raise EngineStalled(
                "a worker stopped while it had this same request, and no other one could be the cause: it is "
                "not tried again for some minutes. A simpler schema, fewer tools or images, or a shorter "
                "prompt may help"
            )

    def _drop_expired(self) -> None:
        """Drop expired digests, which are the first ones."""
        while self._until and next(iter(self._until.values())) <= self._now():
            self._until.popitem(last=False)


def _digest(request: Sequence[Message]) -> bytes:
    digest = blake2b(digest_size=16)
    for message in request:
        same = type(message)()
        same.CopyFrom(message)
        for name in _IGNORED_FIELDS:
            if name in same.DESCRIPTOR.fields_by_name:
                same.ClearField(name)
        content = same.SerializeToString(deterministic=True)
        digest.update(f"{same.DESCRIPTOR.full_name} {len(content)} ".encode())
        digest.update(content)
    return digest.digest()
