"""Guesses of keys on a server with two thousand of them, next to clients with right ones."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import httpx

from frontend.access.key import Role
from frontend.access.secret import digest_of, new_id, new_secret
from frontend.access.stored_key import Digest, KeyDocument
from tests.attack.figures import Figures
from tests.attack.rude import ATTACKER, Rude, chat, connections, some_at_a_time
from tests.attack.scene import SHORT, WORKER, attacked
from tests.support.access_keys import add_key, bearer, rows_of

_KEYS = 2000
_GUESSERS = 200
_SECONDS = 5.0
# A first use takes 50 ms of CPU, after those that came before it.
_FIRST_USE_SECONDS = 5.0
_LENGTHS = (64, 513, 4_000, 30_000)


async def _make_keys(url: str) -> list[str]:
    """Their ids. One digest is enough for all: guesses match none."""
    digest = Digest(text=digest_of(new_secret(new_id())))
    ids = [new_id() for _ in range(_KEYS)]
    async with rows_of(url) as rows:
        for number, key_id in enumerate(ids):
            name = f"key {number}"
            await rows.add(key_id, KeyDocument(name=name, digests=(digest,), created_unix=time.time()))
    return ids


async def test_floods_of_wrong_keys(tmp_path: Path, figures: Figures) -> None:
    """Of ids that there are and of others, from one address; right keys are served, also a new one."""
    url = f"sqlite:///{tmp_path / 'keys.sqlite3'}"
    admin = bearer(await add_key(url, "root", role=Role.ADMIN))
    late = bearer(await add_key(url, "late"))
    ids = await _make_keys(url)
    flags = (*SHORT, "--database-url", url, "--max-connections-per-address", str(_GUESSERS + 50))

    async def guess(port: int) -> Counter[bytes]:
        return await _guess_on(port, ids)

    async with attacked(tmp_path, figures, flags, WORKER, rehearsed=guess, headers=admin) as scene:
        guessing = asyncio.create_task(guess(scene.port))
        await asyncio.sleep(1)
        async with httpx.AsyncClient(base_url=scene.url, trust_env=False, timeout=30) as http:
            began = time.monotonic()
            first = await http.get("/api/tags", headers=late)
            took = time.monotonic() - began
        statuses = await guessing

    figures.notes.append(f"{sum(statuses.values())} guesses: {dict(statuses)}; a new key took {took:.1f} s")
    assert first.status_code == 200
    assert took < _FIRST_USE_SECONDS
    assert set(statuses) <= {b"401", b"503"}
    assert statuses[b"401"] > _GUESSERS


async def _guess_on(port: int, ids: list[str]) -> Counter[bytes]:
    """How often which status was answered."""
    statuses: Counter[bytes] = Counter()
    deadline = time.monotonic() + _SECONDS

    async def one(each: Rude, number: int) -> None:
        while time.monotonic() < deadline:
            key_id = ids[number % len(ids)] if number % 2 else new_id()
            await each.send(_with_key(new_secret(key_id).encode()))
            statuses[(await each.answer(b"}"))[9:12]] += 1
            number += _GUESSERS

    async with connections(port, _GUESSERS) as guessers:
        await asyncio.gather(*(one(each, number) for number, each in enumerate(guessers)))
    return statuses


def _with_key(secret: bytes) -> bytes:
    head, _, body = chat(2, stream=False).partition(b"\r\n\r\n")
    return head + b"\r\nauthorization: Bearer " + secret + b"\r\n\r\n" + body


async def test_very_long_keys(tmp_path: Path, figures: Figures) -> None:
    url = f"sqlite:///{tmp_path / 'keys.sqlite3'}"
    admin = bearer(await add_key(url, "root", role=Role.ADMIN))
    flags = (*SHORT, "--database-url", url)

    async with attacked(tmp_path, figures, flags, headers=admin) as scene:
        answers = [await _answer(scene.port, length) for length in _LENGTHS for _ in range(20)]
        refused = await some_at_a_time([_is_refused(scene.port, 500) for _ in range(400)])

    figures.notes.append(f"answers to long keys: {dict(Counter(answers))}")
    assert set(answers) <= {b"401", b"431"}
    assert refused == 400


async def _answer(port: int, length: int) -> bytes:
    """The status of the answer to a key of that length."""
    one = await Rude.connect(port, ATTACKER)
    try:
        await one.send(_with_key(b"drv_x_".ljust(length, b"A")))
        return (await one.answer(b"}"))[9:12]
    finally:
        one.close()


async def _is_refused(port: int, length: int) -> bool:
    return await _answer(port, length) == b"401"
