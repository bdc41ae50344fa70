"""Requests that stopped a worker alone: when their client sends them again, they stop no other one."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b

from google.protobuf.message import Message

from drover.errors import EngineStalled

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
