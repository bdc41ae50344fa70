"""Workers that give one name to different files: only the newest files get requests, and the log says so."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from drover import logs
from drover.v1 import engine_pb2 as pb
from frontend.routing.managed_worker import ManagedWorker

_log = logging.getLogger("drover.fleet")


def tell_conflicts(joined: ManagedWorker, members: Iterable[ManagedWorker]) -> None:
    """When a worker joins. Workers for another task may share a name: one generates, one embeds."""
    for other in members:
        if not other.ready or joined.model is None or other.model is None:
            continue
        names = _shared_names(joined.model, other.model)
        if not names or joined.model.digest == other.model.digest:
            continue
        newer, older = sorted((joined.model, other.model), key=_newest_first)
        logs.event(
            _log,
            logging.WARNING,
            "workers give one name to different model files: the newer ones get all new requests",
            names=names,
            workers=[joined.address, other.address],
            newer=newer.digest[:12],
            older=older.digest[:12],
        )


def _shared_names(one: pb.Model, other: pb.Model) -> list[str]:
    """In any letter case; none where they do not do the same work."""
    if not (_both(one, other, "completion") or _both(one, other, "embedding")):
        return []
    theirs = {name.casefold() for name in other.names}
    return [name for name in one.names if name.casefold() in theirs]


def _both(one: pb.Model, other: pb.Model, capability: str) -> bool:
    return bool(getattr(one.capabilities, capability) and getattr(other.capabilities, capability))


def _newest_first(model: pb.Model) -> tuple[int, int]:
    """As Fleet.find chooses."""
    return (-model.modified_unix_ns, -int(model.digest or "0", 16))
