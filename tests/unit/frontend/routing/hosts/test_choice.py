"""Which host loads a model: the order of the classes, and that frontends agree."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from drover.errors import NoWorkerReady
from drover.v1 import engine_pb2, host_pb2
from frontend.routing.hosts import hosts as hosts_module
from frontend.routing.hosts.choice import is_better, only_replicas, ranked
from frontend.routing.hosts.hosts import Hosts, Waiting
from frontend.routing.hosts.watched_host import HostEvents, WatchedHost
from tests.support.waiting import until
from tests.unit.frontend.routing.hosts.conftest import send

KEY = "sha256:wanted"
SIZE = 10


def host(
    name: str, *children: host_pb2.Child, budget: int = 20, load_ns: int = 0, **fields: object
) -> WatchedHost:
    """A host with the model in its store."""
    made = WatchedHost(f"{name}:1", HostEvents(lambda: None, lambda: None, lambda *_: None))
    card = engine_pb2.Model(names=["wanted:latest"], manifest=KEY)
    used = sum(child.memory_bytes for child in children)
    state = host_pb2.HostState(
        id=name,
        stored=host_pb2.StoredModels(
            models=[host_pb2.StoredModel(card=card, memory_bytes=SIZE, load_ns=load_ns)]
        ),
        children=children,
        budget_bytes=budget,
        used_bytes=used,
        **fields,  # type: ignore[arg-type]  # as the test gives them
    )
    send(made, state)
    return made


def child(
    key: str = "sha256:other", busy: bool = False, state: int = host_pb2.Child.READY, extra: bool = False
) -> host_pb2.Child:
    return host_pb2.Child(
        digest=key,
        extra=extra,
        address="127.0.0.1:1",
        busy=busy,
        memory_bytes=SIZE,
        state=state,  # type: ignore[arg-type]  # of the enumeration
    )


async def test_the_classes_in_their_order() -> None:
    here = host("here", child(KEY, busy=True))
    waited = host("waited", child(busy=True), child(busy=True), turns=[KEY])
    free = host("free", child(busy=True))
    idle = host("idle", child(), child(busy=True))
    busy = host("busy", child(busy=True), child(busy=True))
    assert ranked([busy, idle, free, waited, here], KEY, {}) == [here, waited, free, idle, busy]


async def test_frontends_agree_whatever_order_they_see() -> None:
    hosts = [host(name) for name in "abcdef"]
    assert ranked(hosts, KEY, {}) == ranked(hosts[::-1], KEY, {})


async def test_a_draining_model_is_not_in_memory_any_more() -> None:
    leaving, free = (
        host("leaving", child(KEY, busy=True, state=host_pb2.Child.DRAINING), budget=10),
        host("free"),
    )
    assert ranked([leaving, free], KEY, {})[0] is free


async def test_hosts_that_cannot_load() -> None:
    away, without, draining = host("away"), host("without"), host("draining", draining=True)
    away.state, without.stored = None, {}
    unusable = host("unusable")
    unusable.stored[KEY].unusable = "no engine for it"
    assert ranked([away, without, draining, unusable], KEY, {}) == []


async def test_what_was_asked_for_already_takes_room() -> None:
    first, second = host("first", budget=SIZE), host("second", budget=SIZE)
    assert ranked([first, second], KEY, {first: SIZE})[0] is second
    assert is_better(second, first, KEY, {first: SIZE})
    assert not is_better(second, first, KEY, {})


def on_gpus(name: str, used: int, *children: host_pb2.Child) -> WatchedHost:
    """A host with two GPUs of 20, of which the first has `used`; the model needs 15 of one."""
    made = host(name, *children, budget=1000)
    assert made.state is not None
    made.stored[KEY].gpus, made.stored[KEY].gpu_bytes = 1, 15
    for gpu, used_bytes in (("a", used), ("b", 20)):
        made.state.gpus.add(id=gpu, budget_bytes=20, used_bytes=used_bytes)
    return made


async def test_room_is_that_of_single_gpus() -> None:
    """What is free of two together is no room for a model on one."""
    free = on_gpus("free", 5)
    idle = on_gpus(
        "idle", 20, host_pb2.Child(state=host_pb2.Child.READY, address="h:1", gpus=["a", "b"], vram_bytes=30)
    )
    full = on_gpus("full", 6)
    assert ranked([full, idle, free], KEY, {}) == [free, idle, full]


async def test_a_second_replica_is_for_a_queue_that_lasts_after_the_load(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Requests that gathered while the model was loaded have waited long, and leave the queue now."""
    monkeypatch.setattr(hosts_module, "_REPLICA_AFTER_SECONDS", 0.5)
    one, two = host("one", child(KEY, state=host_pb2.Child.LOADING)), host("two")
    hosts = Hosts([])
    hosts._hosts = {one.address: one, two.address: two}

    def asked(seconds: float, replicas: int) -> Sequence[tuple[WatchedHost, bool]]:
        return list(hosts._chosen(KEY, Waiting(1, seconds, replicas)))

    assert asked(20, 0) == [(one, False)]
    send(one, host_pb2.HostState(id="one", children=[child(KEY)], budget_bytes=20))
    assert asked(20, 0) == [(one, False)]
    assert asked(20, 1) == []
    await until(lambda: asked(20, 1) == [(two, True)], 30, "the queue lasts")
    assert asked(0.1, 1) == []
    # While it loads requests wait for it, too; and a third host is not asked.
    hosts._hosts["three"] = host("three")
    send(two, host_pb2.HostState(id="two", children=[child(KEY, state=host_pb2.Child.LOADING)]))
    assert asked(20, 1) == [(two, True)]
    del hosts._hosts["three"]
    # It is evicted and loaded again.
    send(one, host_pb2.HostState(id="one", budget_bytes=20))
    assert [is_extra for _, is_extra in asked(20, 0)] == [False]
    assert asked(20, 1) == []


async def test_a_model_that_has_come_anew_may_be_loaded_after_a_failure() -> None:
    hosts, one = Hosts([]), host("one")
    hosts._hosts = {one.address: one}
    hosts._on_failure(one, KEY, NoWorkerReady("its file is damaged"))
    assert not hosts.can_load(KEY)
    send(one, host_pb2.HostState(id="one", budget_bytes=20))
    assert not hosts.can_load(KEY)
    assert str(hosts.last_failure(KEY)) == "its file is damaged"
    card = engine_pb2.Model(names=["wanted:latest"], manifest=KEY)
    send(one, host_pb2.HostState(id="one", changed_models=[host_pb2.StoredModel(card=card)]))
    assert hosts.can_load(KEY)
    assert hosts.last_failure(KEY) is None


async def test_what_is_left_of_a_load() -> None:
    def loading(seconds: float) -> host_pb2.Child:
        began_ns = time.time_ns() - round(seconds * 10**9)
        return host_pb2.Child(digest=KEY, state=host_pb2.Child.LOADING, since_unix_ns=began_ns)

    hosts = Hosts([])

    def left(*known: WatchedHost) -> float | None:
        hosts._hosts = {each.address: each for each in known}
        return hosts.load_seconds(KEY)

    usual_ns = 60 * 10**9
    idle, at_it = host("idle", load_ns=usual_ns), host("at it", loading(20), load_ns=usual_ns)
    assert left(idle) == 60
    assert left(idle, at_it) == pytest.approx(40, abs=5)
    assert left(host("late", loading(100), load_ns=usual_ns)) == 0
    # A host whose clock is ahead.
    assert left(host("ahead", loading(-100), load_ns=usual_ns)) == 60
    assert left(at_it, host("ready", child(KEY), load_ns=usual_ns)) is None
    assert left(host("never loaded")) is None
    assert left() is None


async def test_one_of_several_second_replicas_becomes_the_first() -> None:
    """If both stayed second ones, both would end."""
    first = host("c", child(KEY))
    two, other = host("a", child(KEY, extra=True)), host("b", child(KEY, extra=True), child(extra=True))
    hosts = [other, first, two]
    assert [only_replicas(each, hosts) for each in hosts] == [{"sha256:other"}, set(), set()]
    send(first, host_pb2.HostState(id="c", children=[child(KEY, state=host_pb2.Child.DRAINING)]))
    assert [only_replicas(each, hosts) for each in hosts] == [{"sha256:other"}, set(), {KEY}]
    send(two, host_pb2.HostState(id="a", children=[child(KEY, state=host_pb2.Child.DRAINING, extra=True)]))
    assert only_replicas(other, hosts) == {"sha256:other", KEY}
    assert only_replicas(two, hosts) == set()


async def test_a_host_that_is_reached_anew_may_have_the_first_replica(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is said of the others' second replicas before it is known, or has been away for a while."""
    second = host("second", child(KEY, extra=True))
    first = WatchedHost("first:1", HostEvents(lambda: None, lambda: None, lambda *_: None))
    hosts = Hosts([])
    hosts._hosts = {each.address: each for each in (first, second)}
    asking = asyncio.create_task(hosts._ask())
    try:
        for _ in range(2):
            hosts.on_queue_change()
            await until(lambda: not hosts._queue_changed.is_set(), 30, "it has asked")
            assert second._only_replicas == frozenset()
            send(first, host_pb2.HostState(id="first", children=[child(KEY)]))
            first._on_lost("it restarts")
        monkeypatch.setattr(hosts_module, "_LOST_SECONDS", 0.0)
        await until(lambda: second._only_replicas == {KEY}, 30, "the host is away for too long")
    finally:
        asking.cancel()
