"""What frontends see of a host: its models, what is in memory, and what is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress

from drover.v1 import host_pb2
from engine_worker.host.listing import Listing
from engine_worker.host.plan import State
from engine_worker.host.pool import Pool
from engine_worker.host.store.blobs import Blobs
from engine_worker.host.workers.child import Child

# Changes that come together leave as one message.
_GATHER_SECONDS = 0.01
# How often a worker's requests and expiry are sent, which change with each request.
_USE_SECONDS = 1.0
_DISK_SECONDS = 5.0
_STATES = {
    State.LOADING: host_pb2.Child.LOADING,
    State.READY: host_pb2.Child.READY,
    State.DRAINING: host_pb2.Child.DRAINING,
}

Models = Mapping[str, host_pb2.StoredModel]


class HostStates:
    """`host_id`: of this machine."""

    def __init__(self, host_id: str, pool: Pool, blobs: Blobs) -> None:
        self._host_id = host_id
        self._pool = pool
        self._blobs = blobs
        self._listing = Listing(pool.catalog)
        self._free_disk = _FreeDisk(blobs)
        self._is_draining = False
        self._is_closed = False

    def drain(self) -> None:
        """Say that the host takes no new work."""
        self._is_draining = True
        self._pool.changed.notify()

    def close(self) -> None:
        """End the watchers."""
        self._is_closed = True
        self._pool.changed.notify()

    async def watch(self, takes_changes: bool) -> AsyncGenerator[host_pb2.HostState, None]:
        """All of it at once, then each change, until `close`. `takes_changes`: of the models only those that
        have changed, which are few, and thousands may be in the store.
        """
        last: host_pb2.HostState | None = None
        sent: Models | None = None
        while not self._is_closed:
            changed = self._pool.changed.next_change
            state, models = await self._state(), self._listing.models()
            if state != last or models is not sent:
                last = host_pb2.HostState()
                last.CopyFrom(state)
                _add_models(state, models, sent, takes_changes)
                sent = models
                yield state
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), _USE_SECONDS)
            await asyncio.sleep(_GATHER_SECONDS)

    async def _state(self) -> host_pb2.HostState:
        free_bytes, pool = await self._free_disk.bytes(), self._pool
        return host_pb2.HostState(
            id=self._host_id,
            children=map(_child, pool.children.values()),
            budget_bytes=pool.budget_bytes,
            used_bytes=pool.used_bytes,
            gpus=pool.gpu_states,
            disk_budget_bytes=self._blobs.budget_bytes,
            disk_free_bytes=free_bytes,
            draining=self._is_draining,
            turns=pool.turns,
        )


class _FreeDisk:
    """What is left for the store. Counted in a thread and not for each state: a store may have many files."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._bytes = 0
        self._counted: float | None = None
        self._lock = asyncio.Lock()

    async def bytes(self) -> int:
        async with self._lock:
            if self._counted is None or time.monotonic() - self._counted > _DISK_SECONDS:
                self._bytes = await asyncio.to_thread(lambda: self._blobs.free_bytes)
                self._counted = time.monotonic()
        return self._bytes


def _add_models(state: host_pb2.HostState, models: Models, sent: Models | None, takes_changes: bool) -> None:
    if models is sent:
        return
    if sent is None or not takes_changes:
        state.stored.SetInParent()
        state.stored.models.extend(models.values())
        return
    # Those that have not changed are the same objects.
    state.changed_models.extend(model for name, model in models.items() if sent.get(name) is not model)
    state.removed_models.extend(sent.keys() - models.keys())


def _child(child: Child) -> host_pb2.Child:
    return host_pb2.Child(
        model=child.model.name.short,
        digest=child.model.key,
        state=_STATES[child.state],
        address=child.place.address,
        memory_bytes=child.memory_bytes,
        gpus=child.place.gpus,
        vram_bytes=child.gpu_bytes * len(child.place.gpus),
        expires_unix_ns=child.report.expires_unix_ns,
        since_unix_ns=child.began_unix_ns,
        extra=child.place.is_extra,
        busy=child.requests > 0,
    )
