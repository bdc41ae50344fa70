"""Whether a host's state can be used: hosts are the operator's, and may still be defective."""

from __future__ import annotations

import time
from collections.abc import Callable

from drover.errors import ProtocolBroken
from drover.settings import split_address
from drover.v1 import host_pb2

_MAX_MODELS = 16_384
# More than one machine has memory for.
_MAX_CHILDREN = 1024
_MAX_TURNS = 16_384
_MAX_PORT = 65_535
# Hosts gather changes for 10 ms. What is more would be read from its buffer long after it was true.
_MAX_STATES, _COUNTED_SECONDS = 800, 5.0
_WITH_ADDRESS = (host_pb2.Child.READY, host_pb2.Child.DRAINING)


class StateCheck:
    """Of one stream of states. `clock`: in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since, self._states = clock(), 0

    def read(self, state: host_pb2.HostState | None, known_models: int) -> host_pb2.HostState:
        """`known_models`: of earlier states. Raises ProtocolBroken for what no host sends."""
        self._count()
        return _checked(state, known_models)

    def _count(self) -> None:
        now = self._clock()
        if now - self._since > _COUNTED_SECONDS:
            self._since, self._states = now, 0
        self._states += 1
        if self._states > _MAX_STATES:
            raise _broken(f"more than {_MAX_STATES} states within {_COUNTED_SECONDS:.0f} s")


def _checked(state: host_pb2.HostState | None, known_models: int) -> host_pb2.HostState:
    if state is None:
        # What grpc.aio returns for a message that cannot be parsed.
        raise _broken("a message that cannot be parsed")
    sent = (*state.stored.models, *state.changed_models)
    if len(sent) > _MAX_MODELS or (state.changed_models and known_models > _MAX_MODELS):
        raise _broken(f"more than {_MAX_MODELS} models")
    if not all(each.card.names for each in sent):
        raise _broken("a model without a name")
    if len(state.children) > _MAX_CHILDREN or len(state.turns) > _MAX_TURNS:
        raise _broken(f"more than {_MAX_CHILDREN} workers, or more than {_MAX_TURNS} turns")
    for child in state.children:
        if child.state in _WITH_ADDRESS and not _is_address(child.address):
            raise _broken(f"a worker at {child.address[:64]!r}, which is no address")
    return state


def _is_address(text: str) -> bool:
    try:
        host, port = split_address(text)
    except ValueError:
        return False
    return bool(host) and text.isprintable() and 0 < port <= _MAX_PORT


def _broken(reason: str) -> ProtocolBroken:
    return ProtocolBroken(f"the host broke the protocol: {reason}")
