"""What a frontend keeps of a host's states."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from drover.v1 import engine_pb2, host_pb2, host_pb2_grpc
from frontend.routing.hosts.watched_host import HostEvents, WatchedHost
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import name
from tests.unit.frontend.routing.hosts.conftest import send


def stored(text: str, digest: str) -> host_pb2.StoredModel:
    return host_pb2.StoredModel(card=engine_pb2.Model(names=[f"{text}:latest"], manifest=digest))


class _Watched:
    def __init__(self, address: str = "host:1") -> None:
        self.events: list[str] = []
        self.removed: dict[str, str] = {}
        self.host = WatchedHost(
            address,
            HostEvents(
                lambda: self.events.append("changed"),
                lambda: self.events.append("models"),
                lambda *_: None,
            ),
            removed_of=lambda host_id: self.removed,
        )

    def update(self, **fields: object) -> None:
        send(self.host, host_pb2.HostState(id="a", **fields))  # type: ignore[arg-type]  # as the test gives them


async def test_models_are_kept_and_change_one_by_one() -> None:
    watched = _Watched()
    host = watched.host
    first = host_pb2.StoredModels(models=[stored("one", "sha256:1"), stored("two", "sha256:2")])
    watched.update(stored=first)
    assert set(host.served) == {name("one").key, name("two").key}
    kept = host.served[name("two").key]

    watched.update(budget_bytes=5)
    assert watched.events == ["models", "changed"]
    assert set(host.stored) == {"sha256:1", "sha256:2"}

    watched.update(changed_models=[stored("one", "sha256:new")], removed_models=[])
    assert set(host.stored) == {"sha256:new", "sha256:2"}
    watched.update(changed_models=[stored("three", "sha256:3")], removed_models=["one:latest", "gone:latest"])
    assert set(host.stored) == {"sha256:2", "sha256:3"}
    assert host.served[name("two").key] == kept
    assert watched.events[2:] == ["models", "models"]

    # A host that was started anew sends all of them.
    watched.update(stored=host_pb2.StoredModels())
    assert host.stored == host.served == {}


async def test_a_removed_model_stays_hidden_until_the_host_says_that_it_is_deleted() -> None:
    """Another frontend had deleted it and the row was gone, so it was listed until the next state came."""
    watched = _Watched()
    host, key = watched.host, name("one").key
    watched.removed = {key: "sha256:1"}
    first = host_pb2.StoredModels(models=[stored("one", "sha256:1"), stored("two", "sha256:2")])
    watched.update(stored=first)
    assert set(host.stored) == {"sha256:2"}

    watched.removed = {}
    host.hide_removed()
    watched.update(budget_bytes=5)
    watched.update(changed_models=[stored("three", "sha256:3")])
    assert set(host.stored) == {"sha256:2", "sha256:3"}
    assert key not in host.served

    # It has come again, and both changes came as one.
    watched.update(changed_models=[stored("one", "sha256:1")])
    assert key in host.served


async def test_the_last_state_has_no_models() -> None:
    """They would be kept twice."""
    watched = _Watched()
    watched.update(stored=host_pb2.StoredModels(models=[stored("one", "sha256:1")]))
    assert watched.host.state == host_pb2.HostState(id="a")


class _Ending(host_pb2_grpc.HostServicer):
    """Ends each Ensure after its second message."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []

    async def Watch(
        self,
        request: host_pb2.WatchHostRequest,
        context: grpc.aio.ServicerContext[host_pb2.WatchHostRequest, host_pb2.HostState],
    ) -> AsyncIterator[host_pb2.HostState]:
        yield host_pb2.HostState(id="a")
        await asyncio.Event().wait()

    async def Ensure(
        self,
        request_iterator: AsyncIterator[host_pb2.Demands],
        context: grpc.aio.ServicerContext[host_pb2.Demands, host_pb2.LoadFailure],
    ) -> AsyncIterator[host_pb2.LoadFailure]:
        async for message in request_iterator:
            self.seen.append([each.model for each in message.demands])
            yield host_pb2.LoadFailure()
            if len(self.seen) % 2 == 0:
                return


async def test_a_call_that_the_host_ends_leaves_no_task_and_is_made_anew() -> None:
    servicer = _Ending()  # type: ignore[abstract]  # this test needs two of its methods
    server = grpc.aio.server()
    host_pb2_grpc.add_HostServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    before = asyncio.all_tasks()
    host = _Watched(f"127.0.0.1:{port}").host
    host.start()
    try:
        await until(lambda: servicer.seen == [[]], 30, "it is asked for nothing")
        # The change on this call, and all of it on the next one.
        host.want({"sha256:1": host_pb2.Demand(model="one")})
        await until(lambda: servicer.seen[1:] == [["one"]] * 2, 30, "it is asked for a model")
        host.want({"sha256:2": host_pb2.Demand(model="two")})
        await until(lambda: servicer.seen[3:] == [["two"]] * 2, 30, "it is asked for another one")
    finally:
        await host.stop()
        await server.stop(None)
    await until(lambda: asyncio.all_tasks() <= before, 30, "no task is left")
