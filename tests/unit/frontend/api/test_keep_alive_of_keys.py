"""How long requests of a key keep a model, which is in memory for everybody."""

from __future__ import annotations

from pathlib import Path

import pytest

from drover.ollama_options import INT64_MAX
from frontend.access.key import Role
from frontend.settings import FrontendSettings
from tests.support.access_keys import add_key, bearer
from tests.unit.frontend.api.conftest import Start
from tests.unit.frontend.api.preset_requests import HELLO, worker

SECOND = 1_000_000_000
BODIES = {
    "/api/chat": {"model": "m", "messages": HELLO, "stream": False},
    "/api/generate": {"model": "m", "prompt": "hi", "stream": False},
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'presets.sqlite3'}"


@pytest.mark.parametrize("path", sorted(BODIES))
async def test_a_users_keep_alive_stays_within_bounds(start: Start, url: str, path: str) -> None:
    user, admin = [await add_key(url, role.value, role=role) for role in (Role.USER, Role.ADMIN)]
    model = worker()
    async with start(
        model, database_url=url, min_keep_alive_seconds=10, max_keep_alive_seconds=60
    ) as frontend:
        for secret in (user, admin):
            for keep_alive in (0, "1s", "30s", "2h", -1):
                answer = await frontend.client.post(
                    path, json={**BODIES[path], "keep_alive": keep_alive}, headers=bearer(secret)
                )
                assert answer.status_code == 200
        await frontend.client.post(path, json=BODIES[path], headers=bearer(user))
    *sent, last = [handle.request for handle in model.handles]
    assert [each.keep_alive_ns // SECOND for each in sent[:5]] == [10, 10, 30, 60, 60]
    assert [each.keep_alive_ns // SECOND for each in sent[5:9]] == [0, 1, 30, 7200]
    assert sent[9].keep_alive_ns == INT64_MAX
    assert not last.HasField("keep_alive_ns")


async def test_only_an_admin_unloads_a_model(start: Start, url: str) -> None:
    user, admin = [await add_key(url, role.value, role=role) for role in (Role.USER, Role.ADMIN)]
    body = {"model": "m", "keep_alive": 0}
    async with start(worker(), database_url=url) as frontend:
        refused = await frontend.client.post("/api/generate", json=body, headers=bearer(user))
        assert (refused.status_code, refused.json()["error"]) == (
            403,
            "unloading a model (keep_alive 0 without a prompt) is for keys with the role admin",
        )
        stopped = await frontend.client.post("/api/generate", json=body, headers=bearer(admin))
        assert stopped.json()["done_reason"] == "unload"


async def test_without_keys_nothing_is_bounded(start: Start) -> None:
    model = worker()
    async with start(model) as frontend:
        await frontend.client.post("/api/chat", json={**BODIES["/api/chat"], "keep_alive": -1})
        stopped = await frontend.client.post("/api/generate", json={"model": "m", "keep_alive": 0})
    assert stopped.json()["done_reason"] == "unload"
    (sent,) = [handle.request for handle in model.handles]
    assert sent.keep_alive_ns == INT64_MAX


def test_bounds_that_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="min_keep_alive_seconds is more than"):
        FrontendSettings(min_keep_alive_seconds=2, max_keep_alive_seconds=1)
