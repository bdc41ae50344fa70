"""Bodies of requests in flight hold memory: beyond the bound requests are refused as busy."""

from __future__ import annotations

import json

import zstandard

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
