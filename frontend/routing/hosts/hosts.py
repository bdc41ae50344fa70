"""All worker hosts: their models, their workers, and what is asked of them."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass

from drover.concurrency import ChangeSignal
from drover.errors import DroverError, NoWorkerReady
from drover.v1 import host_pb2
from frontend.routing.backends.grpc.tls import FleetTls
from frontend.routing.discovery.base import Discovery
from frontend.routing.hosts.choice import Pending, is_better, only_replicas, ranked
from frontend.routing.hosts.watched_host import HostEvents, WatchedHost
from frontend.routing.managed_worker import log_task_failure
from frontend.routing.served_model import ServedModel

# How long a host is not asked again for a model that it could not load.
_FAILED_SECONDS = 10.0
# How long requests for a model that is loaded wait in the queue before a second replica is asked for.
_REPLICA_AFTER_SECONDS = 3.0
_POLL_SECONDS = 0.5
_SETTLE_SECONDS = 2.0
# How long what a lost host had in memory counts: it may only be reached anew.
_LOST_SECONDS = 10.0
# Of hosts that discovery has removed.
_REMEMBERED_SECONDS = 600.0
_MAX_REMEMBERED = 64
_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """Requests of one model's queue. `seconds`: how long the first one has waited; `replicas`: ready ones."""

    requests: int
    seconds: float
    replicas: int


@dataclass(frozen=True, slots=True)
class _Failure:
    """Of a host to load a model, which it is not asked for again before `until` (time.monotonic)."""

    until: float
    error: DroverError
    stored: host_pb2.StoredModel | None
    """What could not be loaded."""


WaitingByKey = Callable[[], Mapping[str, Waiting]]
FailWaiting = Callable[[str, DroverError], None]
"""Fails the requests that wait for the model with a key."""


class Hosts:
    """Implements Discovery for the hosts' workers.

    `waiting`: what requests wait for now; `fail`: called when no host can load a model. Both are set before
    `start`. `loadable` is cheap: a look-up.
    """

    def __init__(self, discoveries: Sequence[Discovery], tls: FleetTls | None = None) -> None:
        self._discoveries = discoveries
        self._tls = tls
        self.waiting: WaitingByKey = dict
        self.fail: FailWaiting = lambda key, error: None
        self.version = 0
        """Increased whenever the models of the stores may have changed."""
        self._hosts: dict[str, WatchedHost] = {}
        self._removed: deque[WatchedHost] = deque(maxlen=_MAX_REMEMBERED)
        self._hidden: Mapping[str, Mapping[str, str]] = {}
        self._found: dict[int, frozenset[str]] = {}
        self._has_found = [asyncio.Event() for _ in discoveries]
        self._changed = ChangeSignal()
        self._queue_changed = asyncio.Event()
        self._assigned: dict[str, WatchedHost] = {}
        self._loaded_since: dict[str, float] = {}
        """Of models that requests wait for: since when they are seen to be loaded (time.monotonic)."""
        self._failed: dict[tuple[str, str], _Failure] = {}
        self._stored: Mapping[str, ServedModel] = {}
        self._events = HostEvents(self._on_change, self._on_models_change, self._on_failure)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        for number, discovery in enumerate(self._discoveries):
            self._spawn(self._follow(number, discovery), f"follow host discovery {number}")
        if self._discoveries:
            self._spawn(self._ask(), "ask hosts for models")

    async def stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(host.stop() for host in self._hosts.values()))

    async def wait_known(self) -> None:
        """Until each discovery has found its first hosts, and each of these has answered or failed once."""
        await asyncio.gather(*(found.wait() for found in self._has_found))
        await asyncio.gather(*(host.is_known.wait() for host in self._hosts.values()))

    @property
    def all(self) -> Sequence[WatchedHost]:
        return list(self._hosts.values())

    @property
    def are_configured(self) -> bool:
        return bool(self._discoveries)

    @property
    def any_ready(self) -> bool:
        return any(host.is_ready for host in self._hosts.values())

    @property
    def any_has_answered(self) -> bool:
        """Whether the models of one are known, which may be away now."""
        return any(host.id for host in self._hosts.values())

    def stored(self) -> Iterable[ServedModel]:
        """The models of all stores, each name once."""
        return self._stored.values()

    def hide(self, removed: Mapping[str, Mapping[str, str]]) -> None:
        """Hide models that are removed and not yet deleted, and no others. `removed`: by the stores' ids the
        manifests by the models' names.
        """
        self._hidden = removed
        for host in (*self._hosts.values(), *self._removed):
            host.hide_removed()
        self._on_models_change()

    def with_name(self, name_key: str) -> tuple[Sequence[WatchedHost], Sequence[WatchedHost]]:
        """The hosts with a model of the name, also with an older one than others: those that are ready, and
        those that are away or that discovery has removed, as long as they are remembered.
        """
        there = {host.id for host in self._hosts.values() if host.is_ready}
        away = {
            host.id: host
            for host in (*self._removed, *self._hosts.values())
            if host.id not in there and name_key in host.served
        }
        ready = [host for host in self._hosts.values() if host.is_ready and name_key in host.served]
        return ready, list(away.values())

    def is_listed(self, name_key: str) -> bool:
        """Whether a host that discovery has found has a model of the name."""
        return name_key in self._stored

    def find(self, name_key: str) -> ServedModel | None:
        """Also in the store of a host that discovery has removed. A pod that is being replaced has no address
        for a while, and its models must not be answered as unknown meanwhile.
        """
        if (found := self._stored.get(name_key)) is not None:
            return found
        removed = (host.served.get(name_key) for host in self._missing())
        return next((model for model in removed if model is not None), None)

    def has(self, key: str) -> bool:
        """Whether a store has the model with this key."""
        return any(key in host.stored for host in self._hosts.values())

    def can_load(self, key: str) -> bool:
        """Whether a host can be asked for the model with this key."""
        return bool(self._able(key))

    def may_return(self, key: str, seconds: float) -> bool:
        """Whether a host that can load the model with this key is away for at most so long."""
        hosts = (*self._not_failed(key), *self._missing())
        return any(host.is_away_for(seconds) and host.can_serve(key) for host in hosts)

    def any_may_return(self, seconds: float) -> bool:
        """Whether a host that can load some model is away for at most so long."""
        return any(
            host.is_away_for(seconds) and any(map(host.can_serve, host.stored))
            for host in (*self._hosts.values(), *self._missing())
        )

    def last_failure(self, key: str) -> DroverError | None:
        """Why a host could not load the model a moment ago, or why none that has its files ever can."""
        failed = (each for (_, of), each in self._failed.items() if of == key)
        latest = max(failed, key=lambda each: each.until, default=None)
        if latest is not None:
            return type(latest.error)(latest.error.message)
        stored = [host.stored[key] for host in self._hosts.values() if key in host.stored]
        if not stored or not all(each.unusable for each in stored):
            return None
        return NoWorkerReady(f"model '{stored[0].card.names[0]}' cannot be served: {stored[0].unusable}")

    def load_seconds(self, key: str) -> float | None:
        """What is left of the load of the model with this key, as long as the last one took and without the
        wait for memory; None: not known, or it is loaded.
        """
        hosts = [host for host in self._hosts.values() if key in host.stored]
        if any(host.has_ready(key) for host in hosts):
            return None
        at_it = [host for host in hosts if host.loads(key)] or self._able(key)[:1]
        left = (host.load_seconds(key) for host in at_it)
        return min((seconds for seconds in left if seconds is not None), default=None)

    def child_at(self, address: str) -> tuple[WatchedHost, host_pb2.Child] | None:
        """The host whose worker has this address, and the worker; None if no host has it."""
        for host in self._hosts.values():
            if (child := host.child_at(address)) is not None:
                return host, child
        return None

    def host_of(self, address: str) -> str:
        """The address of the host that has started the worker with this address, also while it is away; empty
        if none has.
        """
        hosts = self._hosts.values()
        return next((host.address for host in hosts if address in host.child_addresses()), "")

    def on_queue_change(self) -> None:
        """Call when requests begin to wait for a model, or none does any more."""
        self._queue_changed.set()

    async def addresses(self) -> AsyncGenerator[Sequence[str], None]:
        """Of the hosts' workers."""
        last: list[str] | None = None
        while True:
            changed = self._changed.next_change
            now = sorted({address for host in self._hosts.values() for address in host.child_addresses()})
            if now != last:
                last = now
                yield now
            await changed.wait()

    async def wait_for(self, is_true: Callable[[], bool], seconds: float = _SETTLE_SECONDS) -> None:
        """Until the hosts' states make it true, which come a moment after a change. At most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while True:
                    changed = self._changed.next_change
                    if is_true():
                        return
                    await changed.wait()

    async def _follow(self, number: int, discovery: Discovery) -> None:
        async with aclosing(discovery.addresses()) as lists:
            async for addresses in lists:
                self._found[number] = frozenset(addresses)
                await self._reconcile()
                self._has_found[number].set()

    async def _reconcile(self) -> None:
        wanted = frozenset[str]().union(*self._found.values())
        for address in sorted(wanted - self._hosts.keys()):
            host = WatchedHost(address, self._events, self._tls, self._hidden_of)
            self._hosts[address] = host
            host.start()
        # Taken out before anything is awaited: another discovery may change meanwhile.
        left = [self._hosts.pop(address) for address in self._hosts.keys() - wanted]
        self._removed.extend(left)
        self._on_models_change()
        await asyncio.gather(*(host.stop() for host in left))

    def _hidden_of(self, host_id: str) -> Mapping[str, str]:
        return self._hidden.get(host_id, {})

    def _missing(self) -> Sequence[WatchedHost]:
        """Hosts that discovery has removed lately, and whose stores are not back at other addresses."""
        back = {host.id for host in self._hosts.values()}
        removed = (host for host in reversed(self._removed) if host.id not in back)
        return [host for host in removed if host.is_away_for(_REMEMBERED_SECONDS)]

    def _on_models_change(self) -> None:
        stored: dict[str, ServedModel] = {}
        for host in self._hosts.values():
            for key, model in host.served.items():
                known = stored.get(key)
                if known is None or known.info.modified_unix_ns < model.info.modified_unix_ns:
                    stored[key] = model
        self._stored = stored
        self.version += 1
        self._on_change()

    def _on_change(self) -> None:
        self._changed.notify()
        self._queue_changed.set()

    def _on_failure(self, host: WatchedHost, key: str, error: DroverError) -> None:
        """Ask another host; if there is none, the requests fail with the reason."""
        until = time.monotonic() + _FAILED_SECONDS
        self._failed[host.address, key] = _Failure(until, error, host.stored.get(key))
        if not self.can_load(key):
            self.fail(key, error)
        self._queue_changed.set()

    def _able(self, key: str) -> Sequence[WatchedHost]:
        return ranked(self._not_failed(key), key, self._pending(key))

    def _not_failed(self, key: str) -> Sequence[WatchedHost]:
        now = time.monotonic()
        self._failed = {
            (address, of): each
            for (address, of), each in self._failed.items()
            if each.until > now and self._is_as_it_failed(address, of, each)
        }
        return [host for host in self._hosts.values() if (host.address, key) not in self._failed]

    def _is_as_it_failed(self, address: str, key: str, failure: _Failure) -> bool:
        """A model that was pulled or created again may be loaded."""
        host = self._hosts.get(address)
        return host is not None and host.stored.get(key) is failure.stored

    def _pending(self, without: str) -> Pending:
        """Of all models but one."""
        pending: Counter[WatchedHost] = Counter()
        for key, host in self._assigned.items():
            if key != without and key in host.stored and key not in host.children:
                pending[host] += host.stored[key].memory_bytes
        return pending

    async def _ask(self) -> None:
        """Tell each host what is waited for there."""
        while True:
            self._queue_changed.clear()
            waiting = self.waiting()
            demands: dict[WatchedHost, dict[str, host_pb2.Demand]] = {host: {} for host in self.all}
            for key, each in waiting.items():
                for host, is_extra in self._chosen(key, each):
                    demands[host][key] = host_pb2.Demand(
                        model=host.stored[key].card.names[0],
                        digest=key,
                        waiting=each.requests,
                        waited_ns=round(each.seconds * _NS),
                        extra=is_extra,
                    )
            self._assigned = {key: host for key, host in self._assigned.items() if key in waiting}
            self._loaded_since = {key: at for key, at in self._loaded_since.items() if key in waiting}
            is_settled = all(map(_is_settled, demands))
            for host, wanted in demands.items():
                host.want(wanted, only_replicas(host, demands) if is_settled else frozenset())
            try:
                async with asyncio.timeout(None if is_settled and not waiting else _POLL_SECONDS):
                    await self._queue_changed.wait()
            except TimeoutError:
                pass

    def _chosen(self, key: str, waiting: Waiting) -> Iterable[tuple[WatchedHost, bool]]:
        """The host that loads the model, which stays the same while it can; and one for a second replica. One
        is asked for, too, if the host's worker is none that this frontend can use.
        """
        able = self._able(key)
        if not able:
            return
        host = self._assigned.get(key)
        if host is None or host not in able or is_better(able[0], host, key, self._pending(key)):
            host = self._assigned[key] = able[0]
        if not waiting.replicas:
            yield host, False
        is_loaded = waiting.replicas > 0 or host.has_ready(key)
        if self._waits_long(key, waiting, is_loaded):
            others = [each for each in able if each is not host and each.loads(key)]
            if not others and self._may_have_more(host, key):
                others = [each for each in able if key not in each.children]
            yield from ((each, True) for each in others[:1])

    def _waits_long(self, key: str, waiting: Waiting, is_loaded: bool) -> bool:
        """Whether requests wait although the model is loaded, not counting the wait for its load."""
        if not is_loaded:
            self._loaded_since.pop(key, None)
            return False
        now = time.monotonic()
        seconds = min(waiting.seconds, now - self._loaded_since.setdefault(key, now))
        return seconds > _REPLICA_AFTER_SECONDS

    def _may_have_more(self, host: WatchedHost, key: str) -> bool:
        most = host.stored[key].max_replicas
        return not most or sum(key in each.children for each in self._hosts.values()) < most

    def _spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(log_task_failure)


def _is_settled(host: WatchedHost) -> bool:
    """Whether what it has in memory is known, or does not count any more."""
    return host.is_known.is_set() and (host.state is not None or not host.is_away_for(_LOST_SECONDS))
