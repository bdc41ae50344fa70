"""Files of a store that something else has damaged: what clients are answered, and how they come again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from frontend.api.in_flight import InFlightRequests
from frontend.app import build_app
from frontend.routing.backends.connect import connect
from frontend.routing.discovery.static import Static
from frontend.routing.fleet import Fleet
from frontend.routing.hosts.hosts import Hosts
from frontend.routing.model_queue import QueueTable
from frontend.routing.policies.least_load import LeastLoad
from frontend.settings import FrontendSettings
from tests.fakes.http_server import serving
from tests.support.hosts import hosting
from tests.support.sentencepiece_gguf import write_sentencepiece_gguf
from tests.support.waiting import until
from tests.unit.engine_worker.host.conftest import digest_of

_SECONDS = 30.0


@dataclass
class _Setup:
    client: httpx.AsyncClient
    path: Path
    data: bytes

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    async def upload(self) -> int:
        return (await self.client.post(f"/api/blobs/{self.digest}", content=self.data)).status_code

    async def has_blob(self) -> bool:
        return (await self.client.head(f"/api/blobs/{self.digest}")).is_success

    async def create(self, **body: object) -> str:
        """The error; empty if it is made."""
        answer = await self.client.post("/api/create", json={"model": "made", "stream": False, **body})
        return str(answer.json().get("error", ""))

    async def make(self) -> str:
        return await self.create(files={"a.gguf": self.digest})

    async def names(self) -> list[str]:
        return [model["name"] for model in (await self.client.get("/api/tags")).json()["models"]]

    async def fail(self) -> str:
        answer = await self.client.post("/api/generate", json={"model": "made", "prompt": "Hello"})
        assert answer.status_code == 500
        return str(answer.json()["error"])

    async def remove(self) -> int:
        return (await self.client.request("DELETE", "/api/delete", json={"model": "made"})).status_code

    async def is_unlisted(self) -> bool:
        return await self.names() == []


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[_Setup]:
    """With a model of an uploaded file. Larger than an adapter may be."""
    write_sentencepiece_gguf(tmp_path / "tiny.gguf")
    data = (tmp_path / "tiny.gguf").read_bytes()
    async with hosting(tmp_path / "store", memory_mib=2000) as host:
        hosts = Hosts([Static([host.address])])
        fleet = Fleet([], connect, LeastLoad(), QueueTable(512, 1.0), 0, hosts)
        url = f"sqlite:///{tmp_path / 'own.sqlite3'}"
        settings = FrontendSettings(database_url=url, max_blob_bytes=100)
        async with (
            serving(build_app(settings, fleet, InFlightRequests(settings))) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=_SECONDS) as client,
        ):
            await until(lambda: fleet.hosts.any_ready, _SECONDS, "the host is there")
            path = tmp_path / "store" / "blobs" / digest_of(data).replace(":", "-")
            made = _Setup(client, path, data)
            assert await made.upload() == 201
            assert await made.make() == ""
            yield made


def _cut(path: Path, size_bytes: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size_bytes)


async def test_a_file_that_was_cut_off_can_come_again(setup: _Setup) -> None:
    size = len(setup.data)
    _cut(setup.path, 200)
    error = await setup.fail()
    assert f"its file {setup.digest} has 200 of {size} bytes in the store" in error
    assert str(setup.path.parent) not in error
    await until(setup.is_unlisted, _SECONDS, "it is not listed any more")
    assert not await setup.has_blob()
    assert await setup.upload() == 201
    assert await setup.make() == ""
    assert await setup.names() == ["made:latest"]
    # What failed is not remembered of the new one.
    _cut(setup.path, 300)
    assert f"has 300 of {size} bytes" in await setup.fail()


@pytest.mark.parametrize("size_bytes", [0, 50, 200])
async def test_an_upload_repairs_what_nothing_has_noticed_yet(setup: _Setup, size_bytes: int) -> None:
    _cut(setup.path, size_bytes)
    assert not await setup.has_blob()
    assert await setup.upload() == 201
    assert setup.path.read_bytes() == setup.data


async def test_a_model_whose_file_is_damaged_can_be_removed(setup: _Setup) -> None:
    _cut(setup.path, 200)
    await setup.fail()
    await until(setup.is_unlisted, _SECONDS, "it is not listed any more")
    assert await setup.remove() == 200
    assert await setup.remove() == 404


async def test_a_creation_of_a_file_with_other_bytes_names_it(
    setup: _Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Large files are not read when a client asks whether they are there.
    monkeypatch.setattr("engine_worker.host.store.blobs._QUICK_BYTES", 0)
    setup.path.write_bytes(b"x" * len(setup.data))
    assert await setup.has_blob()
    assert f"{setup.digest} was damaged in the store and is removed" in await setup.make()
    assert not await setup.has_blob()
    assert await setup.upload() == 201
    assert await setup.make() == ""


async def test_an_adapter_that_only_a_host_can_keep_is_refused_with_both_numbers(setup: _Setup) -> None:
    """It was said not to be there, so clients uploaded it again, without an end."""
    error = await setup.create(model="other", adapters={"a.gguf": setup.digest}, **{"from": "made"})
    assert f"a.gguf has {len(setup.data)} bytes" in error
    assert "at most 100 are taken (--max-blob-bytes)" in error
