"""One fleet for the tests of all clients: starting it takes longer than most tests."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.clients.fleet import Fleet, running_fleet
from tests.support.engine_client import EngineClient, engine_client

# Nothing of these clients may look for a service outside this machine.
os.environ.update(
    LITELLM_LOCAL_MODEL_COST_MAP="True",
    LITELLM_TELEMETRY="False",
    LANGSMITH_TRACING="false",
    HF_HUB_OFFLINE="1",
    NO_PROXY="127.0.0.1",
)


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with running_fleet(tmp_path_factory.mktemp("fleet")) as running:
        yield running


@pytest.fixture
async def thinker_engine(fleet: Fleet) -> AsyncIterator[EngineClient]:
    """A client of the scripted worker itself, without the frontend."""
    async with engine_client(fleet.thinker.address) as engine:
        yield engine


@pytest.fixture
async def smol_engine(fleet: Fleet) -> AsyncIterator[EngineClient]:
    async with engine_client(fleet.smol.address) as engine:
        yield engine


@pytest.fixture
def new_name(fleet: Fleet) -> Iterator[str]:
    """A name that no worker serves; what a test creates under it is deleted."""
    name = f"new-{secrets.token_hex(4)}"
    yield name
    httpx.request("DELETE", f"{fleet.url}/api/delete", json={"model": name}, timeout=5)
