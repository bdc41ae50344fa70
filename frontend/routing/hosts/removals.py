"""Models that were removed while hosts that have them were away: hidden, and deleted when a host is back.

All frontends of one database hide them, and one deletes each: the one that gets the row's lease.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Sequence
from contextlib import suppress

from drover import logs
from drover.concurrency import ChangeSignal
from drover.errors import DroverError, ModelNotFound, NoWorkerReady
from drover.names import ModelName
from drover.v1 import host_pb2
from frontend.routing.backends.grpc.boundary import boundary
from frontend.routing.hosts.hosts import Hosts
from frontend.routing.hosts.removal_rows import Removal, RemovalRows
from frontend.routing.hosts.watched_host import WatchedHost
from frontend.routing.managed_worker import log_task_failure

_log = logging.getLogger("drover.fleet")
_DELETE_SECONDS = 10.0
# Longer than a deletion may take, so that no other frontend begins one meanwhile.
LEASE_SECONDS = 2 * _DELETE_SECONDS
_SETTLE_SECONDS = LEASE_SECONDS + _DELETE_SECONDS
_RETRY_SECONDS = 1.0
_EXPIRY_SECONDS = 3600.0
_STOP_SECONDS = 3.0


class Removals:
    """While the database is unavailable the models of the rows read last stay hidden, and none is deleted."""

    def __init__(self, rows: RemovalRows, hosts: Hosts, poll_seconds: float) -> None:
        self._rows = rows
        self._hosts = hosts
        self._poll_seconds = poll_seconds
        self._pending: frozenset[Removal] = frozenset()
        self._seen_revision = -1
        self._reading = asyncio.Lock()
        self._changed = ChangeSignal()
        self._was_tried = asyncio.Event()
        self._next_expiry = 0.0
        self._problems: dict[str, str] = {}
        """By the stores' ids: why nothing could be deleted there at last, which is logged."""
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, wait_seconds: float) -> None:
        """Wait so long for the first read, before which removed models are listed. Nothing without hosts."""
        if not self._hosts.are_configured:
            return
        self._spawn(self._poll(), "poll removed models")
        self._spawn(self._delete(), "delete removed models")
        with suppress(TimeoutError):
            await asyncio.wait_for(self._was_tried.wait(), wait_seconds)

    async def stop(self) -> None:
        """Before the database is closed."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_STOP_SECONDS)

    async def add(self, removals: Sequence[Removal]) -> None:
        """Hide the models here and in all frontends, until they are deleted. Raises StoreUnavailable."""
        async with self._reading:
            await self._rows.add(removals)
            await self._read()
        for each in removals:
            logs.event(
                _log,
                logging.INFO,
                "a host is away: its model is deleted later",
                **_fields(each),
                host=each.host,
            )

    async def settle(self, host: WatchedHost, name_key: str) -> None:
        """Wait until the model of the name that was removed is deleted there, so that a new one is not taken
        for it. Raises NoWorkerReady.
        """
        try:
            async with asyncio.timeout(_SETTLE_SECONDS):
                while True:
                    changed = self._changed.next_change
                    if not any((each.host, each.name) == (host.id, name_key) for each in self._pending):
                        return
                    await changed.wait()
        except TimeoutError:
            raise NoWorkerReady(
                "the removed model of that name is not deleted yet from its worker host, please try again"
            ) from None

    async def _poll(self) -> None:
        while True:
            try:
                async with self._reading:
                    await self._read()
                if self._pending and time.monotonic() >= self._next_expiry:
                    await self._rows.end_expired()
                    self._next_expiry = time.monotonic() + _EXPIRY_SECONDS
            except DroverError:
                # Of the database, which the poll of presets logs.
                pass
            except Exception as error:  # noqa: BLE001 - else removed models would be listed until a restart
                _log.error("removed models cannot be read: unhandled exception", exc_info=error)
            self._was_tried.set()
            await asyncio.sleep(self._poll_seconds)

    async def _read(self) -> None:
        """Call with the lock, so that nothing older is read later."""
        changes = await self._rows.after(self._seen_revision)
        self._seen_revision = changes.revision
        if changes.rows is None or self._pending == (pending := frozenset(changes.rows)):
            return
        self._pending = pending
        hidden: dict[str, dict[str, str]] = {}
        for each in pending:
            hidden.setdefault(each.host, {})[each.name] = each.manifest
        self._hosts.hide(hidden)
        self._changed.notify()

    async def _delete(self) -> None:
        """From the hosts that are back: of each host one after the other."""
        while True:
            changed = self._changed.next_change
            back = {host.id: host for host in self._hosts.all if host.is_ready}
            due: dict[str, list[Removal]] = {}
            for each in self._pending:
                if each.host in back:
                    due.setdefault(each.host, []).append(each)
            self._problems = {id_: each for id_, each in self._problems.items() if id_ in due}
            await asyncio.gather(*(self._delete_from(back[id_], removals) for id_, removals in due.items()))
            with suppress(TimeoutError):
                async with asyncio.timeout(_RETRY_SECONDS if self._pending else None):
                    await changed.wait()

    async def _delete_from(self, host: WatchedHost, removals: Sequence[Removal]) -> None:
        for each in removals:
            try:
                await self._finish(host, each)
            except Exception as error:  # noqa: BLE001 - else nothing would be deleted until a restart
                self._on_problem(host, each, str(error.__cause__ or error))
                return
            self._problems.pop(each.host, None)

    def _on_problem(self, host: WatchedHost, removal: Removal, reason: str) -> None:
        """It is tried again and again: the same reason is logged once."""
        if self._problems.get(removal.host) != reason:
            self._problems[removal.host] = reason
            logs.event(
                _log,
                logging.WARNING,
                "a removed model is not deleted yet",
                **_fields(removal),
                host=host.address,
                reason=reason,
            )

    async def _finish(self, host: WatchedHost, removal: Removal) -> None:
        """Raises StoreUnavailable, and what the host answers."""

        def is_there() -> bool:
            return host.id == removal.host and host.manifest_of(removal.name) == removal.manifest

        if is_there():
            if not await self._rows.claim(removal) or not is_there():
                # Another frontend is at it, or it has changed meanwhile.
                return
            with suppress(ModelNotFound), boundary():
                request = host_pb2.DeleteRequest(model=removal.name, manifest=removal.manifest)
                await host.stub.Delete(request, timeout=_DELETE_SECONDS)
            # Until then it would be listed again.
            await self._hosts.wait_for(lambda: not is_there())
            logs.event(
                _log, logging.INFO, "a removed model is deleted", **_fields(removal), host=host.address
            )
        if host.id != removal.host:
            # Another store is at the address now, and this one is away.
            return
        async with self._reading:
            await self._rows.end(removal)
            await self._read()

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(log_task_failure)
        self._tasks.append(task)


def _fields(removal: Removal) -> dict[str, str]:
    name = ModelName.parse(removal.name)
    return {"model": name.short if name else removal.name, "manifest": removal.manifest}
