"""What a frontend keeps of a host's states."""

from __future__ import annotations

from drover.v1 import engine_pb2, host_pb2
from frontend.routing.hosts.watched_host import HostEvents, WatchedHost
from tests.unit.engine_worker.host.conftest import name


def stored(text: str, digest: str) -> host_pb2.StoredModel:
    return host_pb2.StoredModel(card=engine_pb2.Model(names=[f"{text}:latest"], manifest=digest))


class _Watched:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.host = WatchedHost(
            "host:1",
            HostEvents(
                lambda: self.events.append("changed"),
                lambda: self.events.append("models"),
                lambda *_: None,
            ),
        )

    def update(self, **fields: object) -> None:
        self.host.update(host_pb2.HostState(id="a", **fields))  # type: ignore[arg-type]  # as the test gives them


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


async def test_the_last_state_has_no_models() -> None:
    """They would be kept twice."""
    watched = _Watched()
    watched.update(stored=host_pb2.StoredModels(models=[stored("one", "sha256:1")]))
    assert watched.host.state == host_pb2.HostState(id="a")
