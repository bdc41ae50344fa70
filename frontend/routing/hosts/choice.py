"""Which host loads a model: the same choice in every frontend, from the states that all of them see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

from drover.v1 import host_pb2
from frontend.routing.hosts.watched_host import WatchedHost

_HERE = (host_pb2.Child.LOADING, host_pb2.Child.READY)


Pending = Mapping[WatchedHost, int]
"""Bytes of the models that this frontend has asked each host for, and that are not in its memory yet."""


def ranked(hosts: Iterable[WatchedHost], key: str, pending: Pending) -> Sequence[WatchedHost]:
    """The hosts that can load the model with this key, the best one first.

    1. one that has it in memory, or loads it
    2. one where somebody waits for it already
    3. one with room
    4. one that can make room by evicting idle models, those with the most idle memory first
    5. any other one, those with the least memory asked for first

    Equal ones are ordered by a hash of host and model, so that frontends agree and models spread.
    """
    able = [host for host in hosts if host.is_ready and host.can_serve(key)]
    return sorted(able, key=lambda host: _rank(host, key, pending.get(host, 0)))


def is_better(one: WatchedHost, other: WatchedHost, key: str, pending: Pending) -> bool:
    """Whether `one` belongs to a better class than `other`, and not only before it in the order."""
    return _rank(one, key, pending.get(one, 0))[0] < _rank(other, key, pending.get(other, 0))[0]


def only_replicas(host: WatchedHost, hosts: Iterable[WatchedHost]) -> frozenset[str]:
    """Of its second replicas those that are first ones from now on: no host has a first one of the model, and
    of those with a second one it is the first in the order of their ids.
    """
    own = frozenset(key for key, is_extra in _replicas(host) if is_extra)
    if not own:
        return own
    others = (each for each in hosts if each is not host)
    return own.difference(
        key for each in others for key, is_extra in _replicas(each) if not is_extra or each.id < host.id
    )


def _replicas(host: WatchedHost) -> Iterator[tuple[str, bool]]:
    """The models in its memory that do not drain, and whether each is a second replica."""
    return ((key, child.extra) for key, child in host.children.items() if child.state in _HERE)


def _rank(host: WatchedHost, key: str, pending: int) -> tuple[int, int, bytes]:
    state, model = host.state, host.stored[key]
    assert state is not None
    tie = blake2b(f"{state.id} {key}".encode(), digest_size=8).digest()
    child = host.children.get(key)
    if child is not None and child.state in _HERE:
        return 0, 0, tie
    if key in state.turns:
        return 1, 0, tie
    free = state.budget_bytes - state.used_bytes - pending
    gpus = {gpu.id: gpu.budget_bytes - gpu.used_bytes for gpu in state.gpus}
    if _fits(model, free, gpus):
        return 2, 0, tie
    idle = [each for each in state.children if each.state == _HERE[1] and not each.busy]
    idle_bytes = sum(each.memory_bytes for each in idle)
    for each in idle:
        for gpu in each.gpus:
            gpus[gpu] = gpus.get(gpu, 0) + each.vram_bytes // len(each.gpus)
    if _fits(model, free + idle_bytes, gpus):
        return 3, -idle_bytes, tie
    return 4, pending, tie


def _fits(model: host_pb2.StoredModel, free: int, gpus: Mapping[str, int]) -> bool:
    """Into what is free of the host's memory, and of as many of its GPUs as the model needs."""
    roomy = sum(room >= model.gpu_bytes for room in gpus.values())
    return model.memory_bytes <= free and roomy >= model.gpus
