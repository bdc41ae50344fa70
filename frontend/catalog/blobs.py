"""Blobs: files that a client uploads before it creates a model from them. Few, small and short-lived here,
since weights are the workers' matter.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import IntegrityError

from drover.durations import NS_PER_SECOND
from drover.errors import StoreUnavailable
from frontend.catalog.database import Database
from frontend.catalog.tables import blobs


@dataclass(frozen=True, slots=True)
class Blobs:
    """Each stays for `lifetime_seconds`; all together have at most `most_bytes`."""

    database: Database
    lifetime_seconds: float
    most_bytes: int

    async def has(self, digest: str) -> bool:
        """Raises StoreUnavailable."""
        wanted = select(blobs.c.digest).where(
            blobs.c.digest == digest, blobs.c.expires_unix_ns > time.time_ns()
        )
        async with self.database.transaction() as connection:
            return (await connection.execute(wanted)).first() is not None

    async def put(self, digest: str, data: bytes) -> bool:
        """Whether it is new. Raises StoreUnavailable, also when there is no room."""
        if await self.has(digest):
            return False
        now_ns = time.time_ns()
        row = {
            "digest": digest,
            "size_bytes": len(data),
            "data": data,
            "expires_unix_ns": now_ns + round(self.lifetime_seconds * NS_PER_SECOND),
        }
        async with self.database.transaction() as connection:
            await connection.execute(delete(blobs).where(blobs.c.expires_unix_ns <= now_ns))
            used = (await connection.execute(select(func.sum(blobs.c.size_bytes)))).scalar() or 0
            if used + len(data) > self.most_bytes:
                raise StoreUnavailable(
                    f"there is no room for {len(data)} bytes more: the blobs of this server have {used} of "
                    f"{self.most_bytes} bytes; they expire after {self.lifetime_seconds:g} s"
                )
            try:
                async with connection.begin_nested():
                    await connection.execute(insert(blobs).values(row))
            except IntegrityError:
                return False
        return True
