"""A clock that tests move, a database that uses it, and admissions without an application."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from drover.errors import RateLimited
from frontend.access.key import Key, KeyLimits
from frontend.access.limits.admission import Admission
from frontend.access.limits.bucket import MICROSECONDS
from frontend.access.limits.rate_limits import RateLimits
from frontend.database.base import Connection
from frontend.database.database import Database
from frontend.database.url import DatabaseUrl


@dataclass
class Clock:
    now_us: int = 1_700_000_000 * MICROSECONDS

    def __call__(self) -> int:
        return self.now_us

    def pass_seconds(self, seconds: float) -> None:
        self.now_us += round(seconds * MICROSECONDS)


class ClockedDatabase(Database):
    """The real database, with the tests' time."""

    def __init__(self, url: DatabaseUrl, timeout_seconds: float, clock: Clock) -> None:
        super().__init__(url, timeout_seconds)
        self._clock = clock

    @asynccontextmanager
    async def exclusive(self) -> AsyncGenerator[tuple[Connection, int], None]:
        async with super().exclusive() as (connection, _):
            yield connection, self._clock()


def key(
    requests: int | None = None, tokens: int | None = None, streams: int | None = None, key_id: str = "k1"
) -> Key:
    return Key(key_id, key_id, limits=KeyLimits(requests, tokens, streams))


async def admitted(limits: RateLimits, key: Key, count: int) -> list[Admission]:
    """Of `count` requests one after the other, those that are admitted."""
    found = []
    for _ in range(count):
        try:
            found.append(await limits.admit(key, 0))
        except RateLimited:
            continue
    return found


async def refusal(limits: RateLimits, key: Key) -> RateLimited | None:
    try:
        await limits.admit(key, 0)
    except RateLimited as error:
        return error
    return None
