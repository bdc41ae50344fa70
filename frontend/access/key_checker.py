"""Finds the key of a presented secret.

The stored digests are slow on purpose, so each is used once: when a secret has matched it, this process keeps
a fast keyed digest of the secret, with which later requests are compared in microseconds, right ones and
wrong ones. Only secrets of keys that have not been used yet need the slow digest: one at a time, in a thread,
with a bounded number waiting. A refusal is sent after a fixed time, so that its time says nothing about the
key.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections import Counter
from datetime import UTC, datetime

from drover import logs
from drover.errors import NotAuthenticated, QueueFull
from frontend.access.fast_digest import FastDigest
from frontend.access.key import Key
from frontend.access.keys import Keys
from frontend.access.secret import id_of, matches
from frontend.access.stored_key import StoredKey

_log = logging.getLogger("drover.keys")
REFUSAL_SECONDS = 0.25
_MAX_WAITING, _MAX_WAITING_OF_ADDRESS = 32, 4
_INVALID = "the key is not valid here: it is wrong, revoked, or of another server"


class KeyChecker:
    def __init__(self, keys: Keys, digest: FastDigest, refusal_seconds: float = REFUSAL_SECONDS) -> None:
        self._keys = keys
        self._refusal_seconds = refusal_seconds
        self._digest = digest
        self._matched: dict[str, dict[str, bytes]] = {}
        """Of each key's id: the fast digests of secrets that have matched, by their stored digests."""
        self._checking = asyncio.Lock()
        self._flights: dict[tuple[str, bytes], asyncio.Task[bool]] = {}
        self._waiting: Counter[str] = Counter()

    async def check(self, presented: list[bytes], address: str) -> Key:
        """The key of the first secret that is valid. Raises NotAuthenticated, after `refusal_seconds`, and
        QueueFull if too many secrets are being checked.
        """
        began = time.monotonic()
        expired: StoredKey | None = None
        for secret in presented:
            found = await self._find(secret, address)
            if found is not None and found.state() == "active":
                return found.key
            expired = expired or found
        await asyncio.sleep(max(0.0, began + self._refusal_seconds - time.monotonic()))
        raise NotAuthenticated(_INVALID if expired is None else _expired(expired.key))

    async def _find(self, secret: bytes, address: str) -> StoredKey | None:
        """The key that it is a valid secret of; it may be expired."""
        fast = self._digest(secret)
        if (plain := self._keys.of_plain(fast)) is not None:
            return plain
        key_id = id_of(secret)
        stored = self._keys.find(key_id) if key_id is not None else None
        if stored is None:
            return None
        digests = stored.valid_digests(time.time())
        matched = self._matched.get(stored.key.id, {})
        if any(hmac.compare_digest(fast, matched[each]) for each in digests if each in matched):
            return stored
        for digest in digests:
            if digest not in matched and await self._matches(stored.key.id, secret, digest, fast, address):
                return stored
        return None

    async def _matches(self, key_id: str, secret: bytes, digest: str, fast: bytes, address: str) -> bool:
        """Requests with the same secret share one try. Raises QueueFull."""
        flight = self._flights.get((digest, fast))
        if flight is None:
            self._take_place(address)
            flight = asyncio.create_task(self._try(key_id, secret, digest, fast, address), name="check a key")
            self._flights[digest, fast] = flight
        return await asyncio.shield(flight)

    async def _try(self, key_id: str, secret: bytes, digest: str, fast: bytes, address: str) -> bool:
        try:
            async with self._checking:
                matched = self._matched.get(key_id, {})
                if digest in matched:
                    # Another secret has matched it meanwhile.
                    return hmac.compare_digest(fast, matched[digest])
                if not await asyncio.to_thread(matches, secret, digest):
                    return False
                self._remember(key_id, digest, fast)
                return True
        finally:
            del self._flights[digest, fast]
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]

    def _remember(self, key_id: str, digest: str, fast: bytes) -> None:
        """Forget the digests that the key no longer has."""
        stored = self._keys.find(key_id)
        current = {each.text for each in stored.digests} if stored is not None else set()
        kept = {text: known for text, known in self._matched.get(key_id, {}).items() if text in current}
        self._matched[key_id] = {**kept, digest: fast}

    def _take_place(self, address: str) -> None:
        """Clients of one address cannot take all places. Raises QueueFull."""
        full = self._waiting.total() >= _MAX_WAITING
        if full or self._waiting[address] >= _MAX_WAITING_OF_ADDRESS:
            logs.event(_log, logging.WARNING, "too many keys are being checked", address=address)
            raise QueueFull("too many keys are being checked right now, please try again")
        self._waiting[address] += 1


def _expired(key: Key) -> str:
    at = datetime.fromtimestamp(key.expires_unix or 0, UTC)
    return f"the key '{key.name}' expired at {at:%Y-%m-%d %H:%M} UTC; ask this server's operator for another"
