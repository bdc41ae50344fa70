"""Blobs: files that a client uploads to create a model from. Few, small and short-lived, since weights come
with the workers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from drover.durations import NS_PER_SECOND
from drover.errors import StoreUnavailable
from frontend.models.database.database import Database


@dataclass(frozen=True, slots=True)
class Blobs:
    """Each expires after `lifetime_seconds`; all together have at most `max_bytes`."""

    database: Database
    lifetime_seconds: float
    max_bytes: int

    async def has(self, digest: str) -> bool:
        """True if the blob exists. Raises StoreUnavailable."""
        async with self.database.transaction() as connection:
            return bool(
                await connection.rows(
                    "SELECT 1 FROM blobs WHERE digest = $1 AND expires_unix_ns > $2", digest, time.time_ns()
                )
            )

    async def put(self, digest: str, data: bytes) -> bool:
        """Store a blob; True if it is new. Raises StoreUnavailable, also when there is no room."""
        if await self.has(digest):
            return False
        now_ns = time.time_ns()
        expires_unix_ns = now_ns + round(self.lifetime_seconds * NS_PER_SECOND)
        async with self.database.transaction() as connection:
            await connection.run("DELETE FROM blobs WHERE expires_unix_ns <= $1", now_ns)
            totals = "SELECT CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM blobs"
            ((used,),) = await connection.rows(totals)
            if used + len(data) > self.max_bytes:
                raise StoreUnavailable(
                    f"there is no room for {len(data)} bytes more: the blobs of this server have {used} of "
                    f"{self.max_bytes} bytes; they expire after {self.lifetime_seconds:g} s"
                )
            written = await connection.run(
                "INSERT INTO blobs (digest, size_bytes, data, expires_unix_ns) VALUES ($1, $2, $3, $4) "
                "ON CONFLICT (digest) DO NOTHING",
                *(digest, len(data), data, expires_unix_ns),
            )
        return written > 0
