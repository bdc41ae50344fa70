"""The frontend of the API's tests, and what a page of the console asks of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.frontend.api.conftest import Frontend, start
from tests.unit.frontend.api.preset_requests import HELLO

__all__ = ["CHAT", "OWN", "Event", "log_in", "start", "state_events"]

Event = tuple[str, dict[str, Any]]
OWN = {"x-console-page": "1"}
CHAT = {"model": "m", "messages": HELLO, "stream": False}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'presets.sqlite3'}"


@asynccontextmanager
async def state_events(frontend: Frontend, **headers: str) -> AsyncIterator[AsyncIterator[Event]]:
    async with frontend.client.stream("GET", "/console/events", headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield _parsed(response)


async def _parsed(response: httpx.Response) -> AsyncIterator[Event]:
    kind = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


async def log_in(frontend: Frontend, key: str, **headers: str) -> httpx.Response:
    return await frontend.client.post("/console/login", json={"key": key}, headers=OWN | headers)
