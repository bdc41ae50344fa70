"""Finding the key of a secret: how often the slow digest is computed, and what bounds it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from drover.errors import NotAuthenticated, QueueFull
from frontend.access import key_checker
from frontend.access.database_keys import DatabaseKeys
from frontend.access.fast_digest import FastDigest
from frontend.access.key import Key
from frontend.access.key_checker import KeyChecker
from frontend.access.key_rows import KeyChanges
from frontend.access.keys import Keys
from frontend.access.secret import new_secret
from frontend.access.stored_key import Digest, StoredKey
from tests.support.cpu_time import within_cpu

_DIGESTS = [f"$scrypt$ln=14,r=8,p=1${letter * 22}${letter * 43}" for letter in "ABCD"]


class _Rows:
    """Keys in the place of the database's."""

    def __init__(self) -> None:
        self.keys: dict[str, StoredKey] = {}
        self.revision = 0

    async def after(self, seen: int) -> KeyChanges:
        return KeyChanges(self.revision, dict(self.keys))


class _Scene:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = _Rows()
        self.database = DatabaseKeys(self.rows)  # type: ignore[arg-type]
        keys = Keys(self.database, None, always_required=True, open_until_read=False)
        self.checker = KeyChecker(keys, FastDigest(), refusal_seconds=0.0)
        self.secrets: dict[str, str] = {}
        """By digest."""
        self.computed: list[bytes] = []
        self.seconds = 0.0
        monkeypatch.setattr(key_checker, "matches", self._matches)

    def _matches(self, secret: bytes, digest: str) -> bool:
        self.computed.append(secret)
        time.sleep(self.seconds)
        return self.secrets[digest].encode() == secret

    async def put(self, key_id: str, *digests: Digest, revoked_unix: float | None = None) -> None:
        stored = StoredKey(Key(key_id, f"name of {key_id}"), digests, revoked_unix=revoked_unix)
        self.rows.keys[key_id] = stored
        self.rows.revision += 1
        await self.database.refresh()

    async def new(self, key_id: str, digest: str) -> str:
        self.secrets[digest] = new_secret(key_id)
        await self.put(key_id, Digest(text=digest))
        return self.secrets[digest]

    async def check(self, secret: str, address: str = "a") -> str:
        try:
            return (await self.checker.check([secret.encode()], address)).id
        except NotAuthenticated:
            return ""


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> _Scene:
    return _Scene(monkeypatch)


async def test_the_slow_digest_is_computed_once_for_a_key(scene: _Scene) -> None:
    secret = await scene.new("k1", _DIGESTS[0])
    assert [await scene.check(secret) for _ in range(3)] == ["k1"] * 3
    assert scene.computed == [secret.encode()]
    assert [await scene.check(new_secret("k1")) for _ in range(100)] == [""] * 100
    assert [await scene.check(new_secret("k2")) for _ in range(100)] == [""] * 100
    assert len(scene.computed) == 1


async def test_requests_with_the_same_secret_share_one_computation(scene: _Scene) -> None:
    secret = await scene.new("k1", _DIGESTS[0])
    found = await asyncio.gather(*(scene.check(secret) for _ in range(100)))
    assert (found, len(scene.computed)) == (["k1"] * 100, 1)


async def test_a_flood_of_wrong_secrets_leaves_room_for_the_right_one(scene: _Scene) -> None:
    """Also before the key was used for the first time."""
    secret = await scene.new("k1", _DIGESTS[0])
    scene.seconds = 0.02
    flood = [asyncio.create_task(scene.check(new_secret("k1"), "attacker")) for _ in range(50)]
    await asyncio.sleep(0)
    assert await scene.check(secret, "client") == "k1"
    outcomes = await asyncio.gather(*flood, return_exceptions=True)
    assert sum(isinstance(each, QueueFull) for each in outcomes) == 46
    assert len(scene.computed) <= 5


async def test_all_who_wait_together_are_bounded(scene: _Scene) -> None:
    await scene.new("k1", _DIGESTS[0])
    outcomes = await asyncio.gather(
        *(scene.check(new_secret("k1"), f"address {number}") for number in range(100)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, QueueFull) for each in outcomes) == 100 - 32
    # All places are free again.
    assert await scene.check(scene.secrets[_DIGESTS[0]]) == "k1"


async def test_a_client_that_leaves_does_not_stop_the_others(scene: _Scene) -> None:
    secret = await scene.new("k1", _DIGESTS[0])
    scene.seconds = 0.05
    first = asyncio.create_task(scene.check(secret))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(scene.check(secret))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == "k1"
    assert len(scene.computed) == 1


@pytest.mark.parametrize("change", ["revoked", "rotated"])
async def test_a_change_counts_for_a_secret_that_was_used(scene: _Scene, change: str) -> None:
    secret = await scene.new("k1", _DIGESTS[0])
    assert await scene.check(secret) == "k1"
    if change == "revoked":
        await scene.put("k1", Digest(text=_DIGESTS[0]), revoked_unix=1.0)
        assert await scene.check(secret) == ""
    else:
        new = await scene.new("k1", _DIGESTS[1])
        assert [await scene.check(each) for each in (secret, new, secret)] == ["", "k1", ""]


async def test_the_old_secret_is_valid_until_its_grace_period_ends(scene: _Scene) -> None:
    old, new = await scene.new("k1", _DIGESTS[0]), await scene.new("k1", _DIGESTS[1])
    grace: Callable[[float], Digest] = lambda until: Digest(text=_DIGESTS[0], until_unix=until)  # noqa: E731
    await scene.put("k1", Digest(text=_DIGESTS[1]), grace(time.time() + 60))
    assert [await scene.check(old), await scene.check(new)] == ["k1", "k1"]
    await scene.put("k1", Digest(text=_DIGESTS[1]), grace(time.time() - 1))
    assert [await scene.check(old), await scene.check(new)] == ["", "k1"]


async def test_thousands_of_keys_cost_no_more_than_one(scene: _Scene) -> None:
    for number in range(5_000):
        scene.rows.keys[f"k{number}"] = StoredKey(Key(f"k{number}", "n"), (Digest(text=_DIGESTS[0]),))
    secret = await scene.new("k4999", _DIGESTS[0])
    assert await scene.check(secret) == "k4999"
    with within_cpu(0.5):
        for _ in range(1_000):
            await scene.check(secret)
