"""A database that is locked, full, broken or restarted while presets are written."""

from __future__ import annotations

import asyncio
import resource
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest

from tests.attack.figures import Figures
from tests.attack.scene import SHORT, Scene, attacked
from tests.support.postgres import Postgres, postgres
from tests.support.waiting import until

_FLAGS = (*SHORT, "--database-timeout-seconds", "1")
_WRITERS = 6
_AWAY_SECONDS = 3.0


@dataclass
class Writers:
    """Make and delete presets; `statuses` of all, and the names that must be `there` or `gone`."""

    url: str
    size: int = 100
    statuses: Counter[int] = field(default_factory=Counter)
    there: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    stopping: bool = False

    async def write(self, number: int) -> None:
        async with httpx.AsyncClient(base_url=self.url, timeout=30, trust_env=False) as http:
            count = 0
            while not self.stopping:
                count += 1
                name = f"preset-{number}-{count}"
                body = {"model": name, "from": "sim", "system": "x" * self.size, "stream": False}
                answer = await http.post("/api/create", json=body)
                self.statuses[answer.status_code] += 1
                if answer.status_code == 200:
                    self.there.add(name)
                if count % 4 == 0 and answer.status_code == 200:
                    deleted = await http.request("DELETE", "/api/delete", json={"model": name})
                    self.statuses[deleted.status_code] += 1
                    self.there.discard(name)
                    if deleted.status_code == 200:
                        self.gone.add(name)
                await asyncio.sleep(0.05)


@asynccontextmanager
async def _writing(scene: Scene, size: int = 100) -> AsyncIterator[Writers]:
    writers = Writers(scene.url, size)
    tasks = [asyncio.create_task(writers.write(number)) for number in range(_WRITERS)]
    try:
        yield writers
    finally:
        writers.stopping = True
        await asyncio.gather(*tasks)
    scene.notes.append(f"writers had {dict(writers.statuses)}")
    assert set(writers.statuses) <= {200, 503}


async def _check_all_there(scene: Scene, writers: Writers) -> None:
    """As soon as the database is used again; then no name that was acknowledged is lost."""
    async with httpx.AsyncClient(base_url=scene.url, timeout=30, trust_env=False) as http:

        async def is_used() -> bool:
            return (await http.post("/api/create", json={"model": "last", "from": "sim"})).status_code == 200

        await until(is_used, 20, "the database is used again")
        listed = (await http.get("/api/tags")).json()["models"]
        names = {each["name"].removesuffix(":latest") for each in listed}
        assert names >= writers.there
        assert not names & writers.gone
        for name in names - {"sim"}:
            assert (await http.request("DELETE", "/api/delete", json={"model": name})).status_code == 200


async def test_sqlite_is_locked(tmp_path: Path, figures: Figures) -> None:
    async with attacked(tmp_path, figures, _FLAGS) as scene:
        async with _writing(scene) as writers:
            await asyncio.sleep(1)
            with closing(sqlite3.connect(tmp_path / "presets.sqlite3", isolation_level=None)) as other:
                other.execute("BEGIN EXCLUSIVE")
                await asyncio.sleep(_AWAY_SECONDS)
                other.execute("ROLLBACK")
            await asyncio.sleep(1)
        assert writers.statuses[503]
        await _check_all_there(scene, writers)


async def test_sqlite_is_full(tmp_path: Path, figures: Figures) -> None:
    """Its file may grow no more, as on a disk without room."""
    async with attacked(tmp_path, figures, _FLAGS) as scene:
        async with _writing(scene, size=50_000) as writers:
            await asyncio.sleep(1)
            largest = _largest(tmp_path)
            front = psutil.Process(scene.front.pid)
            before = front.rlimit(resource.RLIMIT_FSIZE)
            front.rlimit(resource.RLIMIT_FSIZE, (largest + 300_000, before[1]))
            await asyncio.sleep(_AWAY_SECONDS)
            front.rlimit(resource.RLIMIT_FSIZE, before)
        assert writers.statuses[503]
        await _check_all_there(scene, writers)


@pytest.mark.parametrize("keep", [0, 100, 5_000])
async def test_sqlite_is_broken(tmp_path: Path, figures: Figures, keep: int) -> None:
    """Of its file, noise is left behind the first bytes. What served models do needs no database."""
    async with attacked(tmp_path, figures, _FLAGS) as scene:
        async with _writing(scene) as writers:
            await asyncio.sleep(1)
            file = tmp_path / "presets.sqlite3"
            await asyncio.to_thread(_spoil, file, keep)
            await asyncio.sleep(_AWAY_SECONDS)
        assert writers.statuses[200]
        async with httpx.AsyncClient(base_url=scene.url, timeout=30, trust_env=False) as http:
            assert (await http.get("/api/tags")).status_code in (200, 503)
            assert (await http.post("/api/show", json={"model": "sim"})).status_code == 200


def _largest(folder: Path) -> int:
    return max(each.stat().st_size for each in folder.iterdir())


def _spoil(file: Path, keep: int) -> None:
    with file.open("r+b") as opened:
        length = opened.seek(0, 2)
        opened.seek(keep)
        opened.write(b"\xa5" * max(0, length - keep))


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


async def test_postgresql_restarts_under_writes(tmp_path: Path, figures: Figures, server: Postgres) -> None:
    flags = (*_FLAGS, "--database-url", server.url)
    async with attacked(tmp_path, figures, flags) as scene:
        async with _writing(scene) as writers:
            for _ in range(2):
                await asyncio.sleep(1)
                await asyncio.to_thread(server.stop)
                await asyncio.sleep(1)
                await asyncio.to_thread(server.start)
            await asyncio.sleep(1)
        assert writers.statuses[503]
        await _check_all_there(scene, writers)


async def test_postgresql_hangs_under_writes(tmp_path: Path, figures: Figures, server: Postgres) -> None:
    flags = (*_FLAGS, "--database-url", server.url)
    async with attacked(tmp_path, figures, flags) as scene:
        async with _writing(scene) as writers:
            await asyncio.sleep(1)
            with server.hung():
                await asyncio.sleep(_AWAY_SECONDS)
            await asyncio.sleep(1)
        assert writers.statuses[503]
        await _check_all_there(scene, writers)
