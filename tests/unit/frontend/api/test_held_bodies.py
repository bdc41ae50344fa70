"""Bodies of requests in flight hold memory: beyond the bound requests are refused as busy."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
import zstandard

from frontend.routing.hosts.stores import HostStores
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import StallingWorker, content, done, started
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Start


async def test_a_body_without_room_is_refused_and_frees_its_part(start: Start) -> None:
    """Bodies count as long as their requests last, also unpacked ones."""
    async with start(StallingWorker(), max_body_bytes=300_000, max_held_body_bytes=1) as frontend:
        long = {"model": "m", "messages": [{"role": "user", "content": "x" * 290_000}]}
        waits = await RawClient.post(frontend.port, "/api/chat", long)
        await frontend.handle()
        packed = zstandard.compress(json.dumps(long).encode())
        for path, data, headers in (
            ("/api/chat", json.dumps(long).encode(), {}),
            ("/v1/chat/completions", packed, {"content-encoding": "zstd"}),
            (f"/api/blobs/sha256:{'0' * 64}", b"x" * 250_000, {}),
        ):
            refused = await frontend.client.post(path, content=data, headers=headers)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert "the bodies of the requests in flight" in refused.text
        frontend.worker.steps = [started(), content("a"), done()]
        short = {"model": "m", "messages": [{"role": "user", "content": "x"}], "stream": False}
        assert (await frontend.client.post("/api/chat", json=short)).status_code == 200
        waits.leave()

        async def is_served() -> bool:
            return (
                await frontend.client.post("/api/chat", json={**long, "stream": False})
            ).status_code == 200

        await until(is_served, DEADLINE_SECONDS, "there is room again")


@pytest.mark.parametrize(("max_blob_bytes", "status"), [(10_000_000, 503), (50_000, 201)])
async def test_what_is_kept_of_an_upload_to_a_host_counts(
    start: Start, monkeypatch: pytest.MonkeyPatch, max_blob_bytes: int, status: int
) -> None:
    """Only what may be an adapter is kept; weights are passed on."""

    async def blob_size(*_: object) -> None:
        return None

    async def put_blob(_: HostStores, digest: str, data: AsyncIterator[bytes]) -> bool:
        return len([chunk async for chunk in data]) > 0

    monkeypatch.setattr(HostStores, "can_be_reached", property(lambda _: True))
    monkeypatch.setattr(HostStores, "blob_size", blob_size)
    monkeypatch.setattr(HostStores, "put_blob", put_blob)
    limits = {"max_body_bytes": 100_000, "max_held_body_bytes": 1, "max_blob_bytes": max_blob_bytes}
    async with start(StallingWorker(), **limits) as frontend:
        path = f"/api/blobs/sha256:{'0' * 64}"
        assert (await frontend.client.post(path, content=b"x" * 300_000)).status_code == status
