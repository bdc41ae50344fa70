"""A worker host, watched for as long as the frontend lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import grpc

from drover import logs
from drover.concurrency import ChangeSignal, is_cancelled
from drover.errors import DroverError
from drover.rpc import CHANNEL_OPTIONS, error_of_failure
from drover.settings import split_address, with_port
from drover.v1 import host_pb2, host_pb2_grpc
from frontend.routing.backends.grpc.tls import FleetTls

if TYPE_CHECKING:
    from drover.v1.host_pb2_grpc import HostAsyncStub

_log = logging.getLogger("drover.fleet")
_RETRY_SECONDS = 0.25
_WILDCARDS = ("0.0.0.0", "::")

OnFailure = Callable[["WatchedHost", str, DroverError], None]
"""Called with the key of a model that the host could not load, and the reason."""


class WatchedHost:
    """`changed` is called when its state has changed, or the host is lost.

    `listed`: its models; `stored`: the same by their keys, of which several names may have one. They stay
    known while the host is away. `state`: the last one; None while it is away.
    """

    def __init__(
        self,
        address: str,
        changed: Callable[[], None],
        on_failure: OnFailure,
        tls: FleetTls | None = None,
    ) -> None:
        self.address = address
        self.state: host_pb2.HostState | None = None
        self.listed: Sequence[host_pb2.StoredModel] = ()
        self.stored: Mapping[str, host_pb2.StoredModel] = {}
        self.is_known = asyncio.Event()
        """Set once the host has answered or failed for the first time."""
        self._changed = changed
        self._on_failure = on_failure
        self._tls = tls
        self._problem = ""
        self._open_channel()
        self._demands: Mapping[str, host_pb2.Demand] = {}
        self._demands_changed = ChangeSignal()
        self._addresses: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        for work, name in ((self._watch(), "watch"), (self._ensure(), "ask")):
            self._tasks.append(asyncio.create_task(work, name=f"{name} host {self.address}"))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._channel.close()

    @property
    def is_ready(self) -> bool:
        return self.state is not None and not self.state.draining

    def children(self) -> Mapping[str, host_pb2.Child]:
        """By the models' keys; none while the host is away."""
        return {} if self.state is None else {child.digest: child for child in self.state.children}

    def has_ready(self, key: str) -> bool:
        """Whether the model with this key is loaded there, as the host says."""
        child = self.children().get(key)
        return child is not None and child.state == host_pb2.Child.READY

    def child_at(self, address: str) -> host_pb2.Child | None:
        """The worker with this address, as frontends reach it."""
        return next(
            (each for each in self.children().values() if self._reachable(each.address) == address), None
        )

    def child_addresses(self) -> list[str]:
        """Of workers that have answered. While the host is away they are those of its last state: a host that
        is lost leaves its workers serving.
        """
        return self._addresses

    def want(self, demands: Mapping[str, host_pb2.Demand]) -> None:
        """The models that this frontend waits for there, complete."""
        if demands.keys() != self._demands.keys() or any(
            demands[key].extra != self._demands[key].extra for key in demands
        ):
            self._demands = demands
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
                call = self.stub.Watch(host_pb2.WatchHostRequest())
                try:
                    async for state in call:
                        self._on_state(state)
                finally:
                    call.cancel()
                self._on_lost("it closed the stream")
            except grpc.aio.AioRpcError as error:
                problem = await self._tls.explain(self.address) if self._tls is not None else ""
                self._on_lost(problem or error.details() or error.code().name)
            await asyncio.sleep(_RETRY_SECONDS)

    def _on_state(self, state: host_pb2.HostState) -> None:
        if state.HasField("stored"):
            self.listed = list(state.stored.models)
            self.stored = {each.card.manifest: each for each in self.listed}
        if self.state is None:
            logs.event(_log, logging.INFO, "host joined", host=self.address, models=len(self.stored))
        self.state = state
        self._addresses = [
            self._reachable(child.address)
            for child in state.children
            if child.state in (host_pb2.Child.READY, host_pb2.Child.DRAINING)
        ]
        self.is_known.set()
        self._changed()

    def _on_lost(self, reason: str) -> None:
        if self.state is not None:
            logs.event(_log, logging.WARNING, "host lost", host=self.address, reason=reason)
        elif reason != self._problem:
            logs.event(_log, logging.INFO, "host cannot be reached", host=self.address, reason=reason)
        self._problem = reason
        self.state = None
        self.is_known.set()
        self._changed()

    def _reachable(self, address: str) -> str:
        """A host that listens on all addresses is reached by its own, and so are its workers."""
        host, port = split_address(address)
        return with_port(split_address(self.address)[0], port) if host in _WILDCARDS else address

    async def _ensure(self) -> None:
        while True:
            call = self.stub.Ensure(self._requests())
            try:
                async for failure in call:
                    self._on_failure(self, failure.digest, error_of_failure(failure.failure))
            except grpc.aio.AioRpcError:
                # `_watch` says that the host is lost.
                pass
            except asyncio.CancelledError:
                # A call whose channel is closed, for new certificates, raises it too.
                if is_cancelled():
                    raise
            finally:
                call.cancel()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _requests(self) -> AsyncIterator[host_pb2.Demands]:
        while True:
            changed = self._demands_changed.next_change
            yield host_pb2.Demands(demands=self._demands.values())
            await changed.wait()
