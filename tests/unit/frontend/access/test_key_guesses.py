"""Guesses of keys: what they cost, which clients they delay, and what their time shows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from drover.errors import NotAuthenticated, QueueFull
from frontend.access import key_checker
from frontend.access.fast_digest import FastDigest
from frontend.access.key import Key
from frontend.access.key_checker import KeyChecker
from frontend.access.keys import Keys
from frontend.access.secret import new_id, new_secret
from frontend.access.stored_key import Digest, StoredKey

# Real digests take 50 ms; that a secret is compared is what counts here.
_DIGEST = "$scrypt$ln=14,r=8,p=1$AAAAAAAAAAAAAAAAAAAAAA$" + "A" * 43


class SlowDigests:
    """In place of scrypt: which secrets were compared, and how many at a time. `open` lets them go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, right: Mapping[bytes, str]) -> None:
        monkeypatch.setattr(key_checker, "matches", self._matches)
        self._right = right
        self.compared: list[bytes] = []
        self.at_a_time = self.most_at_a_time = 0
        self.open = threading.Event()
        self.open.set()

    def _matches(self, secret: bytes, digest: str) -> bool:
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        self.compared.append(secret)
        assert self.open.wait(10)
        self.at_a_time -= 1
        return self._right.get(secret) == digest


def _checker(stored: Mapping[str, StoredKey], refusal_seconds: float = 0.0) -> KeyChecker:
    keys = SimpleNamespace(find=stored.get, of_plain=lambda fast: None)
    return KeyChecker(cast("Keys", keys), FastDigest(), refusal_seconds)


def _key(number: int = 0) -> tuple[str, bytes, StoredKey]:
    """Its id, its secret and what is stored; each has a digest of its own."""
    key_id = new_id()
    digest = _DIGEST[:-6] + f"{number:06d}"
    return key_id, new_secret(key_id).encode(), StoredKey(Key(key_id, "alice"), (Digest(text=digest),))


def _wrong(key_id: str) -> bytes:
    return new_secret(key_id).encode()


async def _outcome(checker: KeyChecker, secret: bytes, address: str = "a") -> str:
    try:
        return (await checker.check([secret], address)).id
    except (NotAuthenticated, QueueFull) as error:
        return type(error).__name__


async def test_guesses_of_a_key_in_use_cost_no_slow_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    key_id, secret, stored = _key()
    digests = SlowDigests(monkeypatch, {secret: stored.digests[0].text})
    checker = _checker({key_id: stored})
    assert await _outcome(checker, secret) == key_id

    guessed = [await _outcome(checker, _wrong(key_id)) for _ in range(500)]

    assert guessed == ["NotAuthenticated"] * 500
    assert digests.compared == [secret]
    assert await _outcome(checker, secret) == key_id
    assert digests.compared == [secret]


async def test_keys_in_use_are_let_in_while_guesses_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    used_id, used, used_stored = _key(1)
    new_id_, _, new_stored = _key(2)
    digests = SlowDigests(monkeypatch, {used: used_stored.digests[0].text})
    checker = _checker({used_id: used_stored, new_id_: new_stored})
    assert await _outcome(checker, used) == used_id

    digests.open.clear()
    guesses = [
        asyncio.create_task(_outcome(checker, _wrong(new_id_), f"address {number % 50}"))
        for number in range(500)
    ]
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        assert [await _outcome(checker, used) for _ in range(100)] == [used_id] * 100
    digests.open.set()
    outcomes = await asyncio.gather(*guesses)

    assert set(outcomes) == {"NotAuthenticated", "QueueFull"}
    assert digests.most_at_a_time == 1
    # Of 500 guesses at the same time so many are compared, and so none takes long.
    assert len(digests.compared) - 1 <= 32


@pytest.mark.parametrize("length", [65, 512, 513, 100_000])
async def test_a_long_secret_is_not_compared(monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    key_id, secret, stored = _key()
    digests = SlowDigests(monkeypatch, {secret: stored.digests[0].text})
    long = f"drv_{key_id}_".encode().ljust(length, b"A")

    assert await _outcome(_checker({key_id: stored}), long) == "NotAuthenticated"

    assert all(len(each) <= 512 for each in digests.compared)


@pytest.mark.parametrize("known", ["unknown id", "known id", "key in use", "revoked", "no key at all"])
async def test_a_refusal_takes_its_fixed_time(monkeypatch: pytest.MonkeyPatch, known: str) -> None:
    """Whatever is wrong: what it costs to find that out is within that time."""
    key_id, secret, stored = _key()
    SlowDigests(monkeypatch, {secret: stored.digests[0].text})
    if known == "revoked":
        stored = StoredKey(stored.key, (), revoked_unix=1.0)
    checker = _checker({key_id: stored}, refusal_seconds=0.1)
    if known == "key in use":
        assert await _outcome(checker, secret) == key_id
    presented = {"unknown id": _wrong(new_id()), "no key at all": b"x"}.get(known, _wrong(key_id))

    took = []
    for _ in range(5):
        began = time.monotonic()
        assert await _outcome(checker, presented) == "NotAuthenticated"
        took.append(time.monotonic() - began)

    assert min(took) >= 0.1
    # The quickest of five, since others have this machine's cores too.
    assert min(took) < 0.2
