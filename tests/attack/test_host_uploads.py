"""Uploads of files to a host: wrong, endless, cut off, and left open."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from tests.attack.asking import asking, refused
from tests.attack.figures import Figures
from tests.attack.host_leftovers import ESCAPED
from tests.attack.host_scene import DISK_MIB, hosted
from tests.attack.rude import connections, request
from tests.support.waiting import until

_BLOCK = bytes(range(256)) * 1024
_DIGESTS = (
    "sha256:", "sha256:0", f"sha256:{'g' * 64}", f"sha256:{'0' * 65}", f"md5:{'0' * 32}",
    f"sha512:{'0' * 64}",
    f"sha256:..%2F..%2F{ESCAPED}", f"..%2F..%2F{ESCAPED}", f"sha256:{'0' * 61}%2F..", f"sha256:{'0' * 63}%00",
    "sha256:" + "0" * 20_000,
)  # fmt: skip
_UPLOADS = 8
_LEFT_OPEN = 100


def _path(data: bytes) -> str:
    return f"/api/blobs/sha256:{hashlib.sha256(data).hexdigest()}"


async def test_wrong_uploads(tmp_path: Path, figures: Figures) -> None:
    async def attack(port: int) -> None:
        async with asking(f"http://127.0.0.1:{port}") as http:
            for digest in _DIGESTS:
                assert (await http.head(f"/api/blobs/{digest}")).status_code in (400, 404, 414), digest
                assert (await http.post(f"/api/blobs/{digest}", content=b"x")).status_code in (400, 404, 414)
            others = [refused(http, _path(b"%d" % number), _BLOCK) for number in range(50)]
            for refusal in await asyncio.gather(*others):
                assert refusal.status == 400
                assert "digest mismatch" in refusal.error

    async with hosted(tmp_path, figures, rehearsed=attack) as scene:
        await attack(scene.port)


async def test_uploads_without_an_end(tmp_path: Path, figures: Figures) -> None:
    """Several at once: together they get what the store may have."""

    async def endless() -> AsyncIterator[bytes]:
        """Slowly enough that the frontend has time for others: the room is what counts here."""
        while True:
            yield _BLOCK
            await asyncio.sleep(0.05)

    async def upload(http: httpx.AsyncClient, number: int) -> str:
        """The server may end the connection while it is written to."""
        try:
            answer = await http.post(_path(b"%d" % number), content=endless())
        except httpx.HTTPError:
            return ""
        assert answer.status_code == 507, answer.text
        return str(answer.json()["error"])

    async def attack(port: int) -> list[str]:
        async with asking(f"http://127.0.0.1:{port}") as http:
            return await asyncio.gather(*(upload(http, number) for number in range(_UPLOADS)))

    most = 0
    async with hosted(tmp_path, figures, rehearsed=attack) as scene:
        running = asyncio.create_task(attack(scene.port), name="endless uploads")
        while not running.done():
            most = max(most, _bytes_of(scene.store / "blobs"))
            await asyncio.sleep(0.02)
        errors = [error for error in await running if error]
        refused = scene.scene.front.log_text().count('"status":507')
    figures.notes.append(f"the store had at most {most >> 20} MiB of {DISK_MIB}")
    assert refused == 2 * _UPLOADS
    assert most <= (DISK_MIB << 20) + (2 << 20)
    assert all("--disk-mib" in error for error in errors), errors


async def test_uploads_that_stop(tmp_path: Path, figures: Figures) -> None:
    async def attack(port: int) -> None:
        async with connections(port, _LEFT_OPEN) as stopped:
            for number, each in enumerate(stopped):
                await each.send(request(_path(b"%d" % number), b"x" * 70_000, length=1_000_000))
            await until(lambda: all(each.is_closed for each in stopped), 60, "they are cut off")

    async with hosted(tmp_path, figures, rehearsed=attack) as scene:
        await attack(scene.port)


def _bytes_of(folder: Path) -> int:
    total = 0
    for path in folder.iterdir():
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
