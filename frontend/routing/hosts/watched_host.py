"""A worker host, watched for as long as the frontend lives."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc

from drover import logs
from drover.concurrency import ChangeSignal, is_cancelled
from drover.errors import DroverError, ProtocolBroken
from drover.rpc import CHANNEL_OPTIONS, error_of_failure
from drover.settings import split_address, with_port
from drover.v1 import host_pb2, host_pb2_grpc
from frontend.routing.backends.grpc.tls import FleetTls
from frontend.routing.hosts.state_check import StateCheck
from frontend.routing.managed_worker import log_task_failure
from frontend.routing.served_model import ServedModel, under_each_name

if TYPE_CHECKING:
    from drover.v1.host_pb2_grpc import HostAsyncStub

    EnsureCall = grpc.aio.StreamStreamCall[host_pb2.Demands, host_pb2.LoadFailure]

_log = logging.getLogger("drover.fleet")
_RETRY_SECONDS = 0.25
# After a message that no host sends.
_BROKEN_SECONDS = 2.0
# After each message of a host, so that a defective one does not take all the time of the frontend.
_READ_PAUSE_SECONDS = 0.002
# States that come meanwhile count together, and later where there is much to do for each.
_PUBLISH_PAUSE_SECONDS = 0.005
_PAUSES_PER_WORK = 4
# Fields of a state.
_MODELS: Final = ("stored", "changed_models", "removed_models")
_NS = 1_000_000_000
_WILDCARDS = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class _Listed:
    """A model of the store, and the same under each of its names."""

    stored: host_pb2.StoredModel
    served: Sequence[ServedModel]


@dataclass(frozen=True, slots=True)
class HostEvents:
    """`changed`: the state has changed, or the host is lost; `models_changed`: and so have its models;
    `load_failed`: it could not load the model with a key, and why.
    """

    changed: Callable[[], None]
    models_changed: Callable[[], None]
    load_failed: Callable[[WatchedHost, str, DroverError], None]


class WatchedHost:
    """`stored`: its models by their keys, of which several names may have one; `served`: the same under their
    names. They stay known while the host is away. `state`: the last one, without the models; None while it is
    away. `removed_of`: of a store's id, the manifests by name that are removed and not yet deleted there.
    """

    def __init__(
        self,
        address: str,
        events: HostEvents,
        tls: FleetTls | None = None,
        removed_of: Callable[[str], Mapping[str, str]] = lambda host_id: {},
    ) -> None:
        self.address = address
        self.id = ""
        """Of its store; empty before its first state."""
        self.state: host_pb2.HostState | None = None
        self.children: Mapping[str, host_pb2.Child] = {}
        """By the models' keys; none while the host is away."""
        self.stored: Mapping[str, host_pb2.StoredModel] = {}
        self.served: Mapping[str, ServedModel] = {}
        self._last_ready = -math.inf
        """When it ceased to be ready (time.monotonic)."""
        self._listed: dict[str, _Listed] = {}
        """By the first name of its card; `_hidden`: those of them that are removed."""
        self._hidden: Mapping[str, _Listed] = {}
        self.is_known = asyncio.Event()
        """Set once the host has answered or failed for the first time."""
        self._events = events
        self._tls = tls
        self._removed_of = removed_of
        self._problem = ""
        self._open_channel()
        self._demands: Mapping[str, host_pb2.Demand] = {}
        self._only_replicas: Collection[str] = frozenset()
        self._demands_changed = ChangeSignal()
        self._addresses: list[str] = []
        self._taken: host_pb2.HostState | None = None
        """The last state, until it counts; `_models_changed`: those of the store, since then."""
        self._models_changed = False
        self._has_taken = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        works = (
            (self._watch(), "watch"),
            (self._publish_taken(), "publish states of"),
            (self._ensure(), "ask"),
        )
        for work, name in works:
            task = asyncio.create_task(work, name=f"{name} host {self.address}")
            task.add_done_callback(log_task_failure)
            self._tasks.append(task)

    async def stop(self) -> None:
        self._set_state(None)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    @property
    def is_ready(self) -> bool:
        return self.state is not None and not self.state.draining

    def can_serve(self, key: str) -> bool:
        """Whether its store has the model with this key, and an engine for it."""
        stored = self.stored.get(key)
        return stored is not None and not stored.unusable

    def manifest_of(self, name_key: str) -> str:
        """That the name has in its store, removed or not; empty without one."""
        for each in self._listed.values():
            for model in each.served:
                if model.name.key == name_key:
                    return model.info.manifest
        return ""

    def is_away_for(self, seconds: float) -> bool:
        """Whether it is lost, or drains, for at most so long: it may only be restarted."""
        return not self.is_ready and time.monotonic() - self._last_ready <= seconds

    def loads(self, key: str) -> bool:
        """Whether it is at the load of the model with this key."""
        child = self.children.get(key)
        return child is not None and child.state == host_pb2.Child.LOADING

    def load_seconds(self, key: str) -> float | None:
        """Of a model of the store: how much of its usual load is left, or all of it before that has begun;
        None if it was never loaded.
        """
        if not self.stored[key].load_ns:
            return None
        elapsed_ns = time.time_ns() - self.children[key].since_unix_ns if self.loads(key) else 0
        # The host's clock may be ahead.
        return max(0, self.stored[key].load_ns - max(0, elapsed_ns)) / _NS

    def has_ready(self, key: str) -> bool:
        """Whether the model with this key is loaded there, as the host says."""
        child = self.children.get(key)
        return child is not None and child.state == host_pb2.Child.READY

    def child_at(self, address: str) -> host_pb2.Child | None:
        """The worker with this address, as frontends reach it."""
        return next(
            (each for each in self.children.values() if self._reachable(each.address) == address), None
        )

    def child_addresses(self) -> list[str]:
        """Of workers that have answered. While the host is away they are those of its last state: a host that
        is lost leaves its workers serving.
        """
        return self._addresses

    def want(
        self, demands: Mapping[str, host_pb2.Demand], only_replicas: Collection[str] = frozenset()
    ) -> None:
        """The models that this frontend waits for there, complete, and second replicas that are to be
        first ones. How long it has waited is sent when that changes, and to a host that is reached anew.
        """
        before, self._demands = self._demands, demands
        has_changed = only_replicas != self._only_replicas
        self._only_replicas = only_replicas
        if (
            has_changed
            or demands.keys() != before.keys()
            or any(demands[key].extra != before[key].extra for key in demands)
        ):
            self._demands_changed.notify()

    def _open_channel(self) -> None:
        if self._tls is None:
            self._channel = grpc.aio.insecure_channel(self.address, options=CHANNEL_OPTIONS)
        else:
            self._channel, self._version = self._tls.channel(self.address), self._tls.version
        self.stub: HostAsyncStub = host_pb2_grpc.HostStub(self._channel)

    async def _renew_channel(self) -> None:
        """A channel keeps the certificates that it was made with."""
        if self._tls is not None and self._version != self._tls.version:
            old = self._channel
            self._open_channel()
            await old.close()

    async def _watch(self) -> None:
        while True:
            await self._renew_channel()
            try:
                call = self.stub.Watch(host_pb2.WatchHostRequest(takes_changes=True))
                try:
                    checked = StateCheck()
                    async for state in call:
                        self._take(checked.read(state, len(self._listed)))
                        self._has_taken.set()
                        await asyncio.sleep(_READ_PAUSE_SECONDS)
                finally:
                    call.cancel()
                self._on_lost("it closed the stream")
            except grpc.aio.AioRpcError as error:
                problem = await self._tls.explain(self.address) if self._tls is not None else ""
                self._on_lost(problem or _reason_of(error))
            except ProtocolBroken as error:
                self._on_lost(error.message)
                await asyncio.sleep(_BROKEN_SECONDS)
            await asyncio.sleep(_RETRY_SECONDS)

    async def _publish_taken(self) -> None:
        while True:
            await self._has_taken.wait()
            self._has_taken.clear()
            began = time.monotonic()
            self._publish()
            spent = time.monotonic() - began
            await asyncio.sleep(max(_PUBLISH_PAUSE_SECONDS, _PAUSES_PER_WORK * spent))

    def _take(self, state: host_pb2.HostState) -> None:
        """Read a state that the host has sent, and take its models out of it."""
        self.id = state.id
        self._models_changed = self._update_models(state) or self._models_changed
        self._taken = state

    def _publish(self) -> None:
        """From now on the last state counts, if there is a new one."""
        state, self._taken = self._taken, None
        if state is None:
            return
        models_changed, self._models_changed = self._models_changed, False
        if models_changed:
            self.hide_removed()
        if self.state is None:
            logs.event(_log, logging.INFO, "host joined", host=self.address, models=len(self.stored))
        self._set_state(state)
        self.children = {child.digest: child for child in state.children}
        self._addresses = [
            self._reachable(child.address)
            for child in state.children
            if child.state in (host_pb2.Child.READY, host_pb2.Child.DRAINING)
        ]
        self.is_known.set()
        (self._events.models_changed if models_changed else self._events.changed)()

    def _update_models(self, state: host_pb2.HostState) -> bool:
        """True if they have changed."""
        if state.HasField("stored"):
            self._listed.clear()
        elif not state.changed_models and not state.removed_models:
            return False
        for each in (*state.stored.models, *state.changed_models):
            self._listed[each.card.names[0]] = _Listed(each, under_each_name(each.card))
        for name in state.removed_models:
            self._listed.pop(name, None)
        for field in _MODELS:
            state.ClearField(field)
        return True

    def hide_removed(self) -> None:
        """Call when what is removed has changed. A hidden model stays hidden until the host sends it anew or
        says that it is deleted: where another frontend has deleted it, the database may say so first.
        """
        removed, before = self._removed_of(self.id), self._hidden
        self._hidden = {
            first: each
            for first, each in self._listed.items()
            if _is_removed(each, removed) or before.get(first) is each
        }
        listed = [each for first, each in self._listed.items() if first not in self._hidden]
        self.stored = {each.stored.card.manifest: each.stored for each in listed}
        self.served = {model.name.key: model for each in listed for model in each.served}

    def _on_lost(self, reason: str) -> None:
        if self.state is not None:
            logs.event(_log, logging.WARNING, "host lost", host=self.address, reason=reason)
        elif reason != self._problem:
            logs.event(_log, logging.INFO, "host cannot be reached", host=self.address, reason=reason)
        self._problem = reason
        self._taken = None
        self._set_state(None)
        self.children = {}
        self.is_known.set()
        self._events.changed()

    def _set_state(self, state: host_pb2.HostState | None) -> None:
        if self.is_ready:
            self._last_ready = time.monotonic()
        self.state = state

    def _reachable(self, address: str) -> str:
        """A host that listens on all addresses is reached by its own, and so are its workers."""
        host, port = split_address(address)
        return with_port(split_address(self.address)[0], port) if host in _WILDCARDS else address

    async def _ensure(self) -> None:
        while True:
            call = self.stub.Ensure()
            # Not an iterator for gRPC to read: it would be read after the host has ended the call.
            writing = asyncio.create_task(self._write_demands(call), name=f"ask host {self.address}: write")
            writing.add_done_callback(log_task_failure)
            try:
                async for failure in call:
                    if failure is not None and failure.digest in self._demands:
                        self._events.load_failed(self, failure.digest, error_of_failure(failure.failure))
                    await asyncio.sleep(_READ_PAUSE_SECONDS)
            except grpc.aio.AioRpcError:
                # `_watch` says that the host is lost.
                pass
            except asyncio.CancelledError:
                # A call whose channel is closed, for new certificates, raises it too.
                if is_cancelled():
                    raise
            finally:
                writing.cancel()
                call.cancel()
                await asyncio.wait({writing})
            await asyncio.sleep(_RETRY_SECONDS)

    async def _write_demands(self, call: EnsureCall) -> None:
        """Failed writes are not reported here: the reader gets the call's status."""
        with suppress(grpc.aio.AioRpcError, grpc.aio.UsageError, asyncio.InvalidStateError):
            while True:
                changed = self._demands_changed.next_change
                await call.write(
                    host_pb2.Demands(demands=self._demands.values(), only_replicas=self._only_replicas)
                )
                await changed.wait()


def _is_removed(listed: _Listed, removed: Mapping[str, str]) -> bool:
    manifest = listed.stored.card.manifest
    return any(removed.get(model.name.key) == manifest for model in listed.served)


def _reason_of(error: grpc.aio.AioRpcError) -> str:
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return "no worker host listens there; workers are named in --workers"
    return error.details() or error.code().name
