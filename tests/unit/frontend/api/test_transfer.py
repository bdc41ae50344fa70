"""Pull, push, blobs, and the routes about accounts."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from drover.v1 import host_pb2
from frontend.routing.hosts.stores import HostStores
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import post, worker


@pytest.fixture
async def frontend(start: Start) -> AsyncIterator[Frontend]:
    async with start(worker()) as running:
        yield running


async def test_pulling_a_served_model_succeeds(frontend: Frontend) -> None:
    response = await post(frontend, "/api/pull", model="", name="m")

    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [line["status"] for line in lines] == [
        "pulling manifest",
        f"pulling {('ab' * 32)[:12]}",
        "verifying sha256 digest",
        "writing manifest",
        "success",
    ]
    assert lines[1] | {"digest": f"sha256:{'ab' * 32}", "total": 1000, "completed": 1000} == lines[1]
    whole = await post(frontend, "/api/pull", model="m", stream=False)
    assert (whole.json(), whole.headers["content-type"]) == ({"status": "success"}, "application/json")


async def test_pulling_a_missing_model_fails_with_a_remedy(frontend: Frontend) -> None:
    streamed = await post(frontend, "/api/pull", model="nope")
    whole = await post(frontend, "/api/pull", model="nope", stream=False)
    created = await post(frontend, "/api/create", model="t", **{"from": "nope"})

    for response in (streamed, created):
        first, second = [json.loads(line) for line in response.text.splitlines()]
        assert (response.status_code, first) == (200, {"status": "pulling manifest"})
        assert second["error"].startswith("pull model manifest: file does not exist")
        assert "python -m engine_worker" in second["error"]
    assert whole.status_code == 500
    assert whole.json()["error"].startswith("pull model manifest: file does not exist")


async def test_a_missing_model_is_to_be_pulled_where_hosts_download(
    frontend: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HostStores, "exist", property(lambda _: True))
    created = await post(frontend, "/api/create", model="t", **{"from": "nope"})

    error = json.loads(created.text.splitlines()[-1])["error"]
    assert error.startswith("pull model manifest: file does not exist (pull that model first")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_transfer_ends_when_its_client_leaves(
    frontend: Frontend, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    has_begun, has_ended = asyncio.Event(), asyncio.Event()

    async def pull(*_: object) -> AsyncGenerator[host_pb2.Progress, None]:
        try:
            yield host_pb2.Progress(status="pulling manifest")
            has_begun.set()
            await asyncio.Event().wait()
        finally:
            has_ended.set()

    monkeypatch.setattr(HostStores, "exist", property(lambda _: True))
    monkeypatch.setattr(HostStores, "pull", pull)
    async with asyncio.timeout(30):
        request = asyncio.create_task(post(frontend, "/api/pull", model="nope", stream=stream))
        await has_begun.wait()
        request.cancel()
        await has_ended.wait()


async def test_nothing_is_pushed(frontend: Frontend) -> None:
    first, second = [
        json.loads(line) for line in (await post(frontend, "/api/push", model="m")).text.splitlines()
    ]
    whole = await post(frontend, "/api/push", model="m", stream=False)

    assert first == {"status": "retrieving manifest"}
    assert second["error"].startswith("unauthorized")
    assert whole.status_code == 500


async def test_a_blob_is_stored_once(frontend: Frontend) -> None:
    path = f"/api/blobs/sha256:{hashlib.sha256(b'hello').hexdigest()}"
    client = frontend.client

    assert (await client.head(path)).status_code == 404
    assert (await client.post(path, content=b"hello")).status_code == 201
    assert (await client.post(path, content=b"hello")).status_code == 200
    assert (await client.head(path)).status_code == 200
    assert (await client.head(path.replace(":", "-"))).status_code == 200


async def test_a_blob_that_is_too_long_is_refused_with_a_remedy(start: Start) -> None:
    async with start(worker(), max_blob_bytes=4) as frontend:
        response = await frontend.client.post(f"/api/blobs/sha256:{'0' * 64}", content=b"hello")

    assert response.status_code == 413
    assert "engine workers serve them" in response.json()["error"]


@pytest.mark.parametrize("digest", ["xyz", "sha256:", f"sha256:{'g' * 64}", f"md5:{'0' * 64}"])
async def test_invalid_digests_are_refused(frontend: Frontend, digest: str) -> None:
    response = await frontend.client.post(f"/api/blobs/{digest}", content=b"x")

    assert (response.status_code, response.json()) == (400, {"error": "invalid digest format"})


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/api/status", 200, {"cloud": {"disabled": True, "source": "config"}}),
        ("GET", "/api/experimental/model-recommendations", 200, {"recommendations": []}),
        ("POST", "/api/me", 401, {"error": "unauthorized"}),
        ("POST", "/api/signout", 401, {"error": "you are not currently signed in"}),
        ("DELETE", "/api/user/keys/abc", 401, {"error": "you are not currently signed in"}),
    ],
)
async def test_there_are_no_accounts(
    frontend: Frontend, method: str, path: str, status: int, body: object
) -> None:
    response = await frontend.client.request(method, path)

    assert (response.status_code, response.json()) == (status, body)


@pytest.mark.parametrize("path", ["web_search", "web_fetch"])
async def test_web_tools_are_refused(frontend: Frontend, path: str) -> None:
    response = await frontend.client.post(f"/api/experimental/{path}", content=b"{}")

    assert response.status_code == 403
    assert "disabled" in response.json()["error"]
