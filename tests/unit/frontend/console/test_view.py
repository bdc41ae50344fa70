"""What each role sees, and what a snapshot of a large fleet costs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import orjson
import pytest

from drover.v1 import engine_pb2 as pb
from drover.v1 import host_pb2
from frontend.access.key import Key, Role
from frontend.console.recorder import ALL_MODELS, Recorder
from frontend.console.snapshot import Snapshot, snapshot
from frontend.console.view import View
from frontend.routing.fair_queue import Ticket
from frontend.routing.fleet import Fleet, WorkerStatus
from frontend.routing.hosts.watched_host import HostEvents, WatchedHost
from frontend.routing.model_queue import WaitingRequest
from tests.support.cpu_time import within_cpu
from tests.unit.frontend.console.fleet_of_many import failed, finished, worker
from tests.unit.frontend.routing.hosts.conftest import send

_NOW = 1_700_000_000.0
_NAMES = {"k1": "alice", "k2": "bob"}


@dataclass
class _Queues:
    requests: list[WaitingRequest] = field(default_factory=list)

    @property
    def waiting(self) -> int:
        return len(self.requests)

    @property
    def waiting_by_model(self) -> dict[str, int]:
        models = [each.model for each in self.requests]
        return {model: models.count(model) for model in models}

    def first(self, limit: int) -> list[WaitingRequest]:
        return self.requests[:limit]


@dataclass
class _Hosts:
    all: list[WatchedHost] = field(default_factory=list)


@dataclass
class _Fleet:
    """What a snapshot reads of a fleet."""

    seen: list[WorkerStatus]
    queues: _Queues
    hosts: _Hosts = field(default_factory=_Hosts)

    def workers(self) -> list[WorkerStatus]:
        return self.seen


def _waiting(model: str, client: str, position: int) -> WaitingRequest:
    return WaitingRequest(model, position, Ticket(client, f"r{position}"), 1.5)


def _taken(recorder: Recorder, fleet: _Fleet) -> Snapshot:
    return snapshot(cast(Fleet, fleet), recorder, lambda: 3, False, _NOW)


@pytest.fixture
def taken() -> Snapshot:
    recorder = Recorder(lambda: _NOW)
    workers = [worker("10.0.0.1:1", "qwen"), worker("10.0.0.2:1", "llama")]
    queue = _Queues([_waiting("qwen", "k1", 1), _waiting("qwen", "k2", 2), _waiting("llama", "k2", 1)])
    recorder.sample(workers, queue.waiting_by_model)
    recorder.count(failed("it quotes alice's text", "qwen", client="k1"), "/api/chat")
    recorder.count(failed("it quotes bob's text", "qwen", client="k2"), "/api/chat")
    moved = finished("qwen", client="k2", failovers=1, retries=1)
    moved.fields["worker_error"] = "it quotes bob's text too"
    recorder.count(moved, "/api/chat")
    return _taken(recorder, _Fleet(workers, queue))


def _seen(taken: Snapshot, key: Key | None) -> dict[str, Any]:
    return View(key, lambda client: _NAMES.get(client, client)).sections(taken, {})


def test_an_admin_and_everybody_without_keys_sees_all(taken: Snapshot) -> None:
    for key in (None, Key("k9", "root", Role.ADMIN)):
        seen = _seen(taken, key)
        assert [each["client"] for each in seen["queue"]] == ["alice", "bob", "bob"]
        assert {each["address"] for each in seen["workers"]} == {"10.0.0.1:1", "10.0.0.2:1"}
        texts = [each["text"] for each in seen["incidents"] if each["kind"] == "error"]
        assert texts == ["it quotes bob's text", "it quotes alice's text"]
        assert set(seen["points"]) == {ALL_MODELS, "qwen", "llama"}


def test_metrics_sees_the_fleet_and_nothing_of_clients(taken: Snapshot) -> None:
    seen = _seen(taken, Key("k9", "grafana", Role.METRICS))
    assert len(seen["workers"]) == 2
    assert {each["client"] for each in seen["queue"]} == {"another client"}
    text = orjson.dumps(seen).decode()
    assert not any(secret in text for secret in ("alice", "bob", "k1", "k2", "quotes"))


def test_a_user_sees_its_models_and_itself(taken: Snapshot) -> None:
    seen = _seen(taken, Key("k1", "alice", Role.USER, models=("qwen*",)))
    assert [each["name"] for each in seen["models"]] == ["qwen"]
    assert [each["client"] for each in seen["queue"]] == ["you", "another client"]
    assert [each["text"] for each in seen["incidents"]] == ["it quotes alice's text"]
    assert set(seen["points"]) == {ALL_MODELS, "qwen"}
    text = orjson.dumps(seen).decode()
    assert not any(secret in text for secret in ("bob", "k2", "10.0.0.", "llama"))


def test_a_model_may_be_granted_under_another_of_its_names(taken: Snapshot) -> None:
    seen = _seen(taken, Key("k1", "alice", Role.USER, models=("llama-alias",)))
    assert [each["name"] for each in seen["models"]] == ["llama"]


def _host(address: str, state: host_pb2.HostState) -> WatchedHost:
    host, own = (
        WatchedHost(address, HostEvents(lambda: None, lambda: None, lambda *_: None)),
        host_pb2.HostState(),
    )
    own.CopyFrom(state)
    send(host, own)
    return host


def _with_hosts() -> Snapshot:
    """One host that serves `qwen`, loads `llama` and is asked for `phi`; one that is lost."""
    child = host_pb2.Child
    children = [
        child(model="qwen", digest="1", state=child.READY, address="10.0.0.9:7", memory_bytes=300),
        child(model="llama", digest="2", state=child.LOADING, memory_bytes=500, since_unix_ns=7 * 10**9),
    ]
    stored = [
        host_pb2.StoredModel(card=pb.Model(names=[name], manifest=digest))
        for digest, name in (("1", "qwen"), ("2", "llama"), ("3", "phi"))
    ]
    state = host_pb2.HostState(
        stored=host_pb2.StoredModels(models=stored),
        children=children,
        turns=["3"],
        used_bytes=800,
        budget_bytes=1000,
        disk_free_bytes=5,
    )
    hosts = [_host("10.0.0.9:2", state), _host("10.0.0.9:1", state)]
    hosts[0]._on_lost("as the test wants")
    fleet = _Fleet([worker("10.0.0.1:1", "qwen")], _Queues([_waiting("phi", "k1", 1)]), _Hosts(hosts))
    return _taken(Recorder(lambda: _NOW), fleet)


async def test_worker_hosts_are_listed_with_what_they_have_and_load() -> None:
    for key in (None, Key("k9", "root", Role.ADMIN), Key("k9", "grafana", Role.METRICS)):
        seen = _seen(_with_hosts(), key)
        assert seen["hosts"] == [
            {
                "address": "10.0.0.9:1",
                "state": "ready",
                "stored": 3,
                "models": [
                    {"model": "llama", "state": "loading", "bytes": 500, "since": 7},
                    {"model": "qwen", "state": "ready", "bytes": 300, "since": 0},
                ],
                "next": ["phi"],
                "memory_used": 800,
                "memory": 1000,
                "disk_free": 5,
            },
            {"address": "10.0.0.9:2", "state": "lost", "stored": 3},
        ]
        assert {each["name"]: each["loading"] for each in seen["models"]} == {"qwen": 0, "phi": 0, "llama": 1}
        assert seen["summary"]["hosts"] == 2


async def test_a_user_sees_that_its_model_loads_and_no_hosts() -> None:
    seen = _seen(_with_hosts(), Key("k1", "alice", Role.USER, models=("llama",)))
    assert seen["hosts"] == []
    assert [(each["name"], each["loading"]) for each in seen["models"]] == [("llama", 1)]
    text = orjson.dumps(seen).decode()
    assert not any(secret in text for secret in ("qwen", "phi", "10.0.0."))


def test_views_of_changed_keys_are_different() -> None:
    keys = [Key("k", "a"), Key("k", "a", Role.ADMIN), Key("k", "a", models=("m",)), Key("j", "a"), None]
    assert len({View(key, str).id for key in keys}) == len(keys)


def test_the_queue_is_listed_up_to_a_limit() -> None:
    queue = _Queues([_waiting("m", "k", number) for number in range(1, 501)])
    seen = _seen(_taken(Recorder(lambda: _NOW), _Fleet([worker("a")], queue)), None)
    assert len(seen["queue"]) == 50
    assert seen["summary"]["queued"] == 500


def test_an_update_of_64_workers_at_1000_requests_a_minute_is_cheap() -> None:
    """8 models, a full queue and list of incidents. On two cores that others used as well: 5 ms."""
    recorder = Recorder(lambda: _NOW)
    workers = [worker(f"10.0.0.{number}:50051", f"model-{number % 8}") for number in range(64)]
    queue = _Queues([_waiting(f"model-{number % 8}", "k", number) for number in range(1, 513)])
    for number in range(1000):
        record = finished(f"model-{number % 8}", ttft_ns=10**6 * (1 + number))
        recorder.count(failed(f"error {number}") if number % 10 == 0 else record, "/api/chat")
    fleet, view = _Fleet(workers, queue), View(None, str)

    def update() -> bytes:
        recorder.sample(workers, queue.waiting_by_model)
        return orjson.dumps(view.sections(_taken(recorder, fleet), recorder.rates))

    size = len(update())
    with within_cpu(20 * 0.02):
        for _ in range(20):
            update()
    assert size < 60_000
