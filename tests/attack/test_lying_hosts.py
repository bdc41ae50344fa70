"""A worker host that lies, next to one that works."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import httpx
import pytest

from drover.rpc import SERVER_OPTIONS
from drover.v1 import engine_pb2, host_pb2
from engine_worker.host.server import SERVICE_NAME
from tests.attack.asking import asking
from tests.attack.figures import Figures
from tests.attack.host_scene import hosted
from tests.attack.scene import SHORT
from tests.support.waiting import until

_MOST = 2**63 - 1
_SECONDS = 4.0
_WATCHED_SECONDS = 15.0
_PATHS = ("/api/tags", "/api/ps", "/v1/models", "/metrics", "/readyz")
_FLAGS = (*SHORT, "--request-timeout-seconds", "4", "--load-timeout-seconds", "2", "--move-wait-seconds", "1")
States = Callable[[], Iterator[bytes]]


def _model(
    name: str, key: str = "sha256:" + "a" * 64, modified_unix_ns: int = 1, **fields: object
) -> host_pb2.StoredModel:
    card = engine_pb2.Model(
        names=[name],
        manifest=key,
        digest=key[7:],
        engine_kind="simulator",
        context_length=4096,
        capabilities=engine_pb2.Capabilities(completion=True),
        modified_unix_ns=modified_unix_ns,
    )
    return host_pb2.StoredModel(card=card, engine="simulator", **fields)  # type: ignore[arg-type]  # as given


def _child(address: str, digest: str = "sha256:" + "a" * 64, **fields: object) -> host_pb2.Child:
    made = host_pb2.Child(model="liar:latest", digest=digest, address=address, **fields)  # type: ignore[arg-type]  # as given
    made.state = host_pb2.Child.READY
    return made


def _one(**fields: object) -> States:
    """One state, and then silence."""
    state = host_pb2.HostState(**{"id": "liar", **fields})  # type: ignore[arg-type]  # as given
    return lambda: iter([state.SerializeToString()])


def _models(*models: host_pb2.StoredModel) -> host_pb2.StoredModels:
    return host_pb2.StoredModels(models=models)


def _many(count: int) -> host_pb2.StoredModels:
    return _models(*(_model(f"m{n}:latest", f"sha256:{n:064x}") for n in range(count)))


def _changes() -> Iterator[bytes]:
    """Without an end, and as fast as they are read."""
    yield host_pb2.HostState(id="liar", stored=_many(1000)).SerializeToString()
    number = 0
    while True:
        number += 1
        changed = _model("m1:latest", f"sha256:{number:064x}", memory_bytes=number)
        yield host_pb2.HostState(id="liar", changed_models=[changed]).SerializeToString()


def _children_change() -> Iterator[bytes]:
    """Each at another address, where nothing is."""
    while True:
        for number in range(200):
            child = _child(f"127.0.0.1:{number % 7 + 1}", f"sha256:{number:064x}")
            yield host_pb2.HostState(id="liar", children=[child]).SerializeToString()


_EXTREME = dict.fromkeys(("budget_bytes", "used_bytes", "disk_budget_bytes", "disk_free_bytes"), 2**64 - 1)
_LIES: dict[str, States] = {
    "garbage": lambda: iter([bytes(range(255, 0, -1)) * 4]),
    "no UTF-8": lambda: iter(
        [host_pb2.HostState(id="liar").SerializeToString().replace(b"liar", b"\xff" * 4)]
    ),
    "nothing": lambda: iter([b""]),
    "no names": _one(stored=_models(host_pb2.StoredModel())),
    "odd names": _one(stored=_models(*map(_model, ("../../x", "", " ", "a" * 100_000, "\0")))),
    "many names": _one(
        stored=_models(host_pb2.StoredModel(card=engine_pb2.Model(names=[f"n{n}" for n in range(100_000)])))
    ),
    "many models": _one(stored=_many(50_000)),
    "changes": _changes,
    "children that change": _children_change,
    "no address": _one(stored=_models(_model("liar:latest")), children=[_child("")]),
    "odd addresses": _one(
        children=[
            _child(address, f"sha256:{number:064x}")
            for number, address in enumerate(
                ("x", ":", "host:port", "host:-1", "[::", "unix:/x", "a\0:1", "1:99999")
            )
        ]
    ),
    "many children": _one(
        children=[_child(f"127.0.{n // 250}.{n % 250}:9", f"sha256:{n:064x}") for n in range(20_000)]
    ),
    "many turns": _one(
        stored=_models(_model("liar:latest")), turns=[f"sha256:{number:064x}" for number in range(500_000)]
    ),
    "large numbers": _one(
        stored=_models(_model("liar:latest", memory_bytes=2**64 - 1, load_ns=_MOST, gpus=2**32 - 1)),
        children=[_child("127.0.0.1:9", memory_bytes=2**64 - 1, expires_unix_ns=_MOST, since_unix_ns=_MOST)],
        **_EXTREME,
    ),
    "negative numbers": _one(
        stored=_models(_model("liar:latest", load_ns=-_MOST)),
        children=[_child("127.0.0.1:9", expires_unix_ns=-_MOST, since_unix_ns=-_MOST)],
    ),
    "large times": _one(stored=_models(_model("liar:latest", modified_unix_ns=-_MOST))),
}


class LyingHost:
    """`states`: what a watcher gets; `progress`: of pulls and creations, again and again."""

    def __init__(self) -> None:
        self._states: States = _one()
        self._changed = asyncio.Event()
        self.progress = host_pb2.Progress(status="pulling", digest="x" * 1000, total_bytes=2**64 - 1)
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        stream, both = grpc.unary_stream_rpc_method_handler, grpc.stream_stream_rpc_method_handler
        unary = grpc.unary_unary_rpc_method_handler
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    SERVICE_NAME,
                    {
                        "Watch": stream(self._watch),
                        "Ensure": both(self._ensure),
                        "Pull": stream(self._endless),
                        "Create": stream(self._endless),
                        "FindBlob": unary(self._no),
                        "GetStored": unary(self._garbage),
                        "Delete": unary(self._garbage),
                    },
                )
            ]
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    async def __aenter__(self) -> LyingHost:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(0)

    def tell(self, states: States) -> None:
        """From now on, to watchers that come anew."""
        self._changed.set()
        self._states, self._changed = states, asyncio.Event()

    async def _watch(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        changed = self._changed
        for state in self._states():
            yield state
            if changed.is_set():
                return
        await changed.wait()

    async def _ensure(self, requests: AsyncIterator[bytes], context: object) -> AsyncIterator[bytes]:
        """Loads fail that were not asked for."""
        failure = host_pb2.LoadFailure(
            model="x", digest="sha256:0", failure=engine_pb2.Failure(reason="Nonsense")
        )
        while True:
            for _ in range(50):
                yield failure.SerializeToString()
            await asyncio.sleep(0.05)

    async def _endless(self, request: bytes, context: object) -> AsyncIterator[bytes]:
        while True:
            yield self.progress.SerializeToString()

    async def _no(self, request: bytes, context: object) -> bytes:
        """The default of each field."""
        return b""

    async def _garbage(self, request: bytes, context: object) -> bytes:
        return b"\xff" * 64


async def _use(port: int, liar: LyingHost, states: States) -> list[int]:
    """Statuses of requests for its model, while it lies for a while."""
    liar.tell(states)
    deadline = asyncio.get_running_loop().time() + _SECONDS
    statuses: list[int] = []
    async with asking(f"http://127.0.0.1:{port}") as http:
        while asyncio.get_running_loop().time() < deadline:
            for path in _PATHS:
                answer = await http.get(path)
                assert answer.status_code == 200, f"{path}: {answer.text[-300:]}"
            asked = {"model": "liar", "messages": [{"role": "user", "content": "x"}], "stream": False}
            statuses.append((await http.post("/api/chat", json=asked)).status_code)
    assert set(statuses) <= {404, 500, 502, 503, 504}, statuses
    return sorted(set(statuses))


async def _lists(url: str, model: str) -> bool:
    """Asks now and then: the list may have thousands of models, and is work for the frontend."""
    await asyncio.sleep(0.5)
    async with asking(url) as http:
        return model in [each["name"] for each in (await http.get("/api/tags")).json()["models"]]


@pytest.mark.parametrize("kind", _LIES)
async def test_states(tmp_path: Path, figures: Figures, kind: str) -> None:
    """Whatever it says, the frontend watches it on, and serves the models of others."""
    truth = _one(stored=_models(_model("true:latest", "sha256:" + "b" * 64)))
    async with LyingHost() as liar:

        async def attack(port: int) -> list[int]:
            return await _use(port, liar, _LIES[kind])

        async with hosted(tmp_path, figures, ("none",), _FLAGS, attack, [liar.address]) as scene:
            figures.notes.append(f"who asked for its model had {await attack(scene.port)}")
            liar.tell(truth)
            scene.elsewhere.add("true:latest")
            await until(lambda: _lists(scene.url, "true:latest"), _WATCHED_SECONDS, "it is watched on")


async def test_in_the_name_of_another_host(tmp_path: Path, figures: Figures) -> None:
    """With its id, and with its worker as one of its own: that one is served on."""
    async with (
        LyingHost() as liar,
        hosted(tmp_path, figures, ("none",), _FLAGS, more_hosts=[liar.address]) as scene,
    ):
        of_another = (scene.store / "id").read_text().strip()
        child = _child(scene.scene.fleet.workers[0].address)
        states = _one(id=of_another, stored=_models(_model("liar:latest")), children=[child])
        figures.notes.append(f"who asked for its model had {await _use(scene.port, liar, states)}")
        scene.elsewhere.add("liar:latest")


async def test_progress_without_an_end(tmp_path: Path, figures: Figures) -> None:
    """It lists the model, so that pulls go to it; who leaves is rid of it."""
    async with LyingHost() as liar:
        liar.tell(_one(stored=_models(_model("liar:latest"))))

        async def pull(http: httpx.AsyncClient, stream: bool) -> int:
            count = 0
            body = {"model": "liar", "stream": stream}
            with suppress(TimeoutError):
                async with asyncio.timeout(_SECONDS), http.stream("POST", "/api/pull", json=body) as answer:
                    assert answer.status_code == 200
                    async for _ in answer.aiter_lines():
                        count += 1
            return count

        async def attack(port: int) -> list[int]:
            async with asking(f"http://127.0.0.1:{port}") as http:
                return await asyncio.gather(*(pull(http, bool(number % 2)) for number in range(20)))

        async with hosted(tmp_path, figures, ("none",), _FLAGS, attack, [liar.address]) as scene:
            lines = await attack(scene.port)
            scene.elsewhere.add("liar:latest")
    figures.notes.append(f"{sum(lines)} lines of progress")
    assert sum(lines)
