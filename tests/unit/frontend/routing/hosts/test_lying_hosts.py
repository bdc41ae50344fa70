"""Hosts whose messages cannot be used: they count as away, and are watched on."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager

import grpc
import pytest

from drover.errors import ProtocolBroken
from drover.v1 import engine_pb2, host_pb2
from engine_worker.host.server import SERVICE_NAME
from frontend.routing.hosts import watched_host
from frontend.routing.hosts.state_check import StateCheck
from frontend.routing.hosts.watched_host import HostEvents, WatchedHost
from tests.fakes.raw_server import serving_calls
from tests.support.waiting import until

_READY = host_pb2.Child.READY
_NAMED = host_pb2.StoredModel(card=engine_pb2.Model(names=["x:latest"], manifest="sha256:1"))


def _state(**fields: object) -> host_pb2.HostState:
    return host_pb2.HostState(id="a", **fields)  # type: ignore[arg-type]  # as the test gives them


_BROKEN = {
    "no message": None,
    "a model without a name": _state(stored=host_pb2.StoredModels(models=[host_pb2.StoredModel()])),
    "a changed one": _state(changed_models=[host_pb2.StoredModel()]),
    "many models": _state(stored=host_pb2.StoredModels(models=[_NAMED] * 20_000)),
    "many children": _state(children=[host_pb2.Child(digest=str(number)) for number in range(2000)]),
    "many turns": _state(turns=["x"] * 20_000),
    **{
        f"a worker at {address!r}": _state(children=[host_pb2.Child(state=_READY, address=address)])
        for address in ("", "x", "host:port", ":1", "host:0", "host:-1", "host:70000", "a\0:1")
    },
}


@pytest.mark.parametrize("kind", _BROKEN)
def test_states_that_no_host_sends(kind: str) -> None:
    with pytest.raises(ProtocolBroken, match="the host broke the protocol"):
        StateCheck().read(_BROKEN[kind], 0)


def test_states_of_hosts_are_used() -> None:
    checked = StateCheck()
    children = [
        host_pb2.Child(state=host_pb2.Child.LOADING),
        host_pb2.Child(state=_READY, address="[::1]:50100"),
        host_pb2.Child(state=_READY, address="worker-0.workers:50100"),
    ]
    for state in (_state(), _state(children=children), _state(changed_models=[_NAMED])):
        assert checked.read(state, 5) is state


def test_models_that_become_too_many() -> None:
    with pytest.raises(ProtocolBroken, match="more than 16384 models"):
        StateCheck().read(_state(changed_models=[_NAMED]), 16_385)


def test_states_without_an_end() -> None:
    """What is read of them would be long over. As many as a host sends are used."""
    _read_all(2000, every_seconds=0.01)
    with pytest.raises(ProtocolBroken, match="states within 5 s"):
        _read_all(2000, every_seconds=0.002)


def _read_all(count: int, every_seconds: float) -> None:
    now = itertools.count()
    checked = StateCheck(lambda: next(now) * every_seconds)
    for _ in range(count):
        checked.read(_state(), 0)


class _Host:
    """`rounds`: what each watcher gets, one after the other. `failures`: of each Ensure."""

    def __init__(self, rounds: list[list[bytes]], failures: list[bytes]) -> None:
        self._rounds: Iterator[list[bytes]] = iter(rounds)
        self._failures = failures

    async def watch(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        for state in next(self._rounds):
            yield state
        await asyncio.Event().wait()

    async def ensure(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        async for _ in requests:
            for failure in self._failures:
                yield failure


def _serving(host: _Host) -> AbstractAsyncContextManager[str]:
    watch: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(host.watch)
    ensure: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(host.ensure)
    return serving_calls({"Watch": watch, "Ensure": ensure}, SERVICE_NAME)


async def test_states_that_come_together_count_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each was worked on by itself, so that what was read was long over."""
    monkeypatch.setattr(watched_host, "_PUBLISH_PAUSE_SECONDS", 0.05)
    names = [f"m{number}:latest" for number in range(300)]
    states = [_state(stored=host_pb2.StoredModels(models=[_NAMED]))]
    for name in names:
        card = engine_pb2.Model(names=[name], manifest=f"sha256:{name}")
        states.append(_state(changed_models=[host_pb2.StoredModel(card=card)]))
    changes: list[int] = []
    async with _serving(_Host([[each.SerializeToString() for each in states]], [])) as address:
        host = WatchedHost(
            address,
            HostEvents(lambda: None, lambda: changes.append(len(host.stored)), lambda host, key, error: None),
        )
        host.start()
        try:
            await until(lambda: len(host.stored) == len(states), 30, "all of them count")
        finally:
            await host.stop()
    assert changes[-1] == len(states)
    assert len(changes) < len(states) / 2


async def test_a_host_is_watched_on_after_what_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The task that watched it had ended, and the host was away for ever."""
    monkeypatch.setattr(watched_host, "_BROKEN_SECONDS", 0.01)
    good = _state(stored=host_pb2.StoredModels(models=[_NAMED])).SerializeToString()
    bad = [b"\xff" * 8, _BROKEN["a model without a name"], _BROKEN["a worker at 'x'"]]
    rounds = [[good, each if isinstance(each, bytes) else each.SerializeToString()] for each in bad if each]
    failures = [
        b"\xff" * 8,
        host_pb2.LoadFailure(digest="sha256:not-asked-for").SerializeToString(),
        host_pb2.LoadFailure(digest="sha256:1").SerializeToString(),
    ]
    changes: list[bool] = []
    failed: list[str] = []
    async with _serving(_Host([*rounds, [good]], failures)) as address:
        host = WatchedHost(
            address,
            HostEvents(
                lambda: changes.append(host.is_ready),
                lambda: changes.append(host.is_ready),
                lambda host, key, error: failed.append(key),
            ),
        )
        host.start()
        try:
            await until(lambda: changes.count(True) == len(bad) + 1, 30, "it is back after each one")
            assert changes.count(False) == len(bad)
            host.want({"sha256:1": host_pb2.Demand(model="x", digest="sha256:1")})
            await until(lambda: bool(failed), 30, "a failure is seen")
        finally:
            await host.stop()
    assert set(failed) == {"sha256:1"}
