"""To a key, a model that it may not use is one that is not there."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from drover.v1 import engine_pb2 as pb
from drover.v1 import host_pb2
from frontend.access.key import Role
from frontend.routing.hosts.stores import HostStores
from tests.fakes.stalling_worker import StallingWorker
from tests.support.access_keys import add_key, bearer
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import HELLO, create, names, post, worker
from tests.unit.frontend.openapi.documented import BASES

_ROUTERS = json.dumps({"auto": {"simple": "m", "complex": "secret", "judge": "m"}})
_PRESETS = {"m-pirate": "m", "m-secret": "secret", "bot": "secret", "other": "m"}
# Bodies that name the model elsewhere than in `model`.
_OTHER_FIELDS = {"/api/create": "from", "/api/copy": "source"}


def _secret_worker() -> StallingWorker:
    one = worker()
    model = pb.Model()
    model.CopyFrom(one.described)
    del model.names[:]
    model.names.extend(["secret:latest", "alias:2"])
    model.digest = "cd" * 32
    model.named_adapters.add(
        name="secret-adapter", adapter=pb.AdapterHeader(files=[pb.AdapterFile(name="a", sha256="00" * 32)])
    )
    return replace(one, address="fake:2", described=model)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'presets.sqlite3'}"


Clients = dict[str, Frontend]


@pytest.fixture
async def clients(start: Start, url: str) -> AsyncIterator[Clients]:
    """The frontend as the keys of an operator, of users and of another administrator see it."""
    secrets = {
        "operator": await add_key(url, "operator", role=Role.ADMIN),
        "user": await add_key(url, "user", models=("m*", "bot")),
        "admin": await add_key(url, "admin", role=Role.ADMIN, models=("m*",)),
        "aliased": await add_key(url, "aliased", models=("alias*",)),
        "routed": await add_key(url, "routed", models=("auto",)),
        "one-side": await add_key(url, "one-side", models=("au*", "m")),
        "all-sides": await add_key(url, "all-sides", models=("a*", "m")),
    }
    workers = worker(), _secret_worker()
    for each in workers:
        each.report = pb.LoadReport(loaded=True)
    two = start(*workers, database_url=url, smart_routers=_ROUTERS)
    async with two as frontend, AsyncExitStack() as stack:
        clients = {}
        for name, secret in secrets.items():
            client = httpx.AsyncClient(base_url=frontend.client.base_url, headers=bearer(secret), timeout=10)
            clients[name] = replace(frontend, client=await stack.enter_async_context(client))
        for name, origin in _PRESETS.items():
            await create(clients["operator"], model=name, **{"from": origin})
        yield clients


_ALL = [
    *("alias:2", "auto:latest", "bot:latest", "m-pirate:latest", "m-secret:latest"),
    *("m:latest", "other:latest", "secret-adapter:latest", "secret:latest"),
]


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        ("operator", _ALL),
        ("user", ["bot:latest", "m-pirate:latest", "m:latest"]),
        ("admin", ["m-pirate:latest", "m:latest"]),
        ("aliased", ["alias:2", "secret:latest"]),
        ("routed", ["auto:latest"]),
        ("one-side", ["m:latest"]),
        ("all-sides", ["alias:2", "auto:latest", "m:latest", "secret:latest"]),
    ],
)
async def test_lists_have_only_the_models_that_a_key_may_use(
    clients: Clients, client: str, shown: list[str]
) -> None:
    frontend = clients[client]
    assert sorted(await names(frontend)) == (sorted(shown))
    listed = (await frontend.client.get("/v1/models")).json()["data"]
    assert sorted(model["id"] for model in listed) == sorted(shown)
    loaded = [model["name"] for model in (await frontend.client.get("/api/ps")).json()["models"]]
    assert set(loaded) <= set(shown)


async def test_loaded_models_are_shown_to_keys_that_may_use_them(clients: Clients) -> None:
    loaded = {
        client: sorted(
            model["name"] for model in (await clients[client].client.get("/api/ps")).json()["models"]
        )
        for client in ("operator", "user", "routed")
    }
    assert {"m:latest", "secret:latest", "auto:latest"} <= set(loaded["operator"])
    assert (loaded["user"], loaded["routed"]) == (["m:latest"], ["auto:latest"])


@pytest.mark.parametrize("name", ["secret", "SECRET:latest", "alias:2", "m-secret", "secret-adapter", "auto"])
async def test_a_hidden_model_is_answered_like_a_missing_one(clients: Clients, name: str) -> None:
    admin, missing = clients["admin"], name.replace(name.partition(":")[0], "missing")
    hidden = await asyncio.gather(*(_answer(admin, path, name) for path in BASES))
    absent = await asyncio.gather(*(_answer(admin, path, missing) for path in BASES))
    for path, (status, text), other in zip(BASES, hidden, absent, strict=True):
        assert (path, status, text) == (path, *other)
        if path not in ("/api/pull", "/api/push", "/api/create"):
            assert (path, status) in ((path, 404), (path, 400))
    assert (await admin.client.get(f"/v1/models/{name}")).status_code == 404


async def _answer(client: Frontend, path: str, model: str) -> tuple[int, str]:
    """Status and text, without what is another one each time."""
    body = {**BASES[path], _OTHER_FIELDS.get(path, "model"): model}
    if path == "/api/copy":
        body["destination"] = "m-copy"
    if path == "/api/create":
        body["model"] = "m-made"
    method = "DELETE" if path == "/api/delete" else "POST"
    response = await client.client.request(method, path, content=json.dumps(body))
    text = re.sub(r"req_[0-9a-f]+", "ID", response.text)
    return response.status_code, text.replace(model, "NAME").replace(model.partition(":")[0], "NAME")


async def test_names_that_a_key_may_not_use_cannot_be_made_or_replaced(clients: Clients) -> None:
    admin = clients["admin"]
    for name in ("secret", "other", "bot", "unknown", "auto", "m-secret"):
        for response in (
            await post(admin, "/api/create", model=name, **{"from": "m"}, stream=False),
            await post(admin, "/api/copy", source="m", destination=name),
        ):
            assert (name, response.status_code) == (name, 403)
            assert "may not use models of that name" in response.json()["error"]
    assert "other:latest" in await names(clients["operator"])
    await create(admin, model="m-new", **{"from": "m-pirate"})
    assert "m-new:latest" in await names(admin)


async def test_a_virtual_model_cannot_be_made_of_hidden_models(clients: Clients) -> None:
    response = await post(
        clients["admin"],
        "/api/create",
        model="m-auto",
        parameters={"route_complex": "secret"},
        stream=False,
        **{"from": "m"},
    )
    assert (response.status_code, "no model 'secret:latest'" in response.text) == (400, True)


async def test_a_name_without_wildcards_grants_what_it_is_made_of(clients: Clients) -> None:
    for client, model in (("user", "bot"), ("routed", "auto"), ("routed", "auto:complex")):
        response = await post(clients[client], "/api/chat", model=model, messages=HELLO, stream=False)
        assert (model, response.status_code) == (model, 200)
    refused = await post(clients["user"], "/api/chat", model="secret", messages=HELLO)
    assert refused.status_code == 404


async def test_a_route_that_needs_no_name_chooses_among_visible_models(start: Start, url: str) -> None:
    ranker = worker()
    ranker.described.capabilities.rerank = True
    secret = await add_key(url, "user", models=("other",))
    async with start(ranker, database_url=url) as frontend:
        response = await frontend.client.post(
            "/rerank", json={"query": "a", "texts": ["b"]}, headers=bearer(secret)
        )
    assert "no model of this server supports rerank" in response.text


@pytest.mark.parametrize(("priority", "asked", "used"), [(5, "9", 5), (None, "9", 2), (-3, "0", -3)])
async def test_a_keys_priority_replaces_the_servers(
    start: Start, url: str, priority: int | None, asked: str, used: int
) -> None:
    from frontend.api.in_flight import InFlightRequests
    from frontend.routing.scheduling_headers import SchedulingHeaders

    seen: list[SchedulingHeaders] = []
    original = InFlightRequests.scheduling

    def spy(self: InFlightRequests, scope: dict[str, object]) -> SchedulingHeaders:
        seen.append(original(self, scope))
        return seen[-1]

    secret = await add_key(url, "user", priority=priority)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InFlightRequests, "scheduling", spy)
        async with start(worker(), database_url=url, max_priority=2) as frontend:
            await frontend.client.post(
                "/api/chat",
                json={"model": "m", "messages": HELLO, "stream": False},
                headers={**bearer(secret), "x-drover-priority": asked},
            )
    assert seen[-1].priority == used


async def test_stores_of_hosts_change_only_models_that_a_key_may_use(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed: list[str] = []

    async def steps(_: HostStores, request: object, *__: object) -> AsyncIterator[host_pb2.Progress]:
        changed.append(str(getattr(request, "model", request)))
        yield host_pb2.Progress(status="success")

    async def delete(_: HostStores, name: str, __: str) -> None:
        changed.append(name)

    monkeypatch.setattr(HostStores, "exist", True)
    monkeypatch.setattr(HostStores, "has", lambda *_: True)
    monkeypatch.setattr(HostStores, "pull", steps)
    monkeypatch.setattr(HostStores, "create", steps)
    monkeypatch.setattr(HostStores, "delete", delete)
    files = {"files": {"a.gguf": f"sha256:{'0' * 64}"}, "stream": False}
    admin = clients["admin"]
    for name in ("secret", "unknown"):
        for path, body in (("/api/pull", {}), ("/api/create", files)):
            response = await post(admin, path, model=name, **body)
            assert (path, response.status_code) == (path, 403)
        response = await admin.client.request("DELETE", "/api/delete", content=json.dumps({"model": name}))
        assert response.status_code == 404
    assert not changed
    assert (await post(admin, "/api/pull", model="m-pulled", stream=False)).json() == {"status": "success"}
    assert (await post(admin, "/api/create", model="m-made", **files)).status_code == 200
    response = await admin.client.request("DELETE", "/api/delete", content=json.dumps({"model": "m-made"}))
    assert response.status_code == 200
    assert changed == ["m-pulled:latest", "m-made:latest", "m-made:latest"]
