"""Blobs: files that a client uploads to create a model from. Few, small and short-lived, since weights come
with the workers. Those of an adapter stay as long as a preset has it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from drover.durations import NS_PER_SECOND
from drover.errors import StoreUnavailable
from drover.ollama_options import INT64_MAX
from frontend.database.base import Connection
from frontend.database.database import Database

_PIECE_BYTES = 1024 * 1024
_NEVER = INT64_MAX
_TOTAL = "SELECT CAST(COALESCE(SUM(size_bytes), 0) AS BIGINT) FROM blobs"
# No preset is written or deleted until the transaction ends.
_LOCK_PRESETS = "UPDATE catalog_state SET revision = revision"


@dataclass(frozen=True, slots=True)
class Blobs:
    """Each expires after `lifetime_seconds` unless a preset needs it (`keep_blobs`); all together have at
    most `max_bytes`.
    """

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
        if await self._used() + len(data) > self.max_bytes:
            await self._delete_unneeded()
        expires_unix_ns = self._new_expiry()
        async with self.database.transaction() as connection:
            await connection.run("DELETE FROM blobs WHERE expires_unix_ns <= $1", time.time_ns())
            ((used,),) = await connection.rows(_TOTAL)
            if used + len(data) > self.max_bytes:
                raise StoreUnavailable(
                    f"there is no room for {len(data)} bytes more: the blobs of this server have {used} of "
                    f"{self.max_bytes} bytes (--max-blob-store-bytes); they expire after "
                    f"{self.lifetime_seconds:g} s, those of adapters with the last model that has them"
                )
            written = await connection.run(
                "INSERT INTO blobs (digest, size_bytes, data, expires_unix_ns) VALUES ($1, $2, $3, $4) "
                "ON CONFLICT (digest) DO NOTHING",
                *(digest, len(data), data, expires_unix_ns),
            )
        return written > 0

    async def size(self, digest: str) -> int | None:
        """Its bytes; None if there is no such blob. Raises StoreUnavailable."""
        async with self.database.transaction() as connection:
            rows = await connection.rows(
                "SELECT size_bytes FROM blobs WHERE digest = $1 AND expires_unix_ns > $2",
                *(digest, time.time_ns()),
            )
        return int(rows[0][0]) if rows else None

    async def pieces(self, digest: str, size_bytes: int) -> AsyncGenerator[bytes, None]:
        """Its bytes, at most 1 MiB at a time. Ends early if the blob is gone. Raises StoreUnavailable."""
        for at in range(0, size_bytes, _PIECE_BYTES):
            async with self.database.transaction() as connection:
                rows = await connection.rows(
                    f"SELECT SUBSTR(data, {at + 1}, {_PIECE_BYTES}) FROM blobs WHERE digest = $1", digest
                )
            if not rows:
                return
            yield bytes(rows[0][0])

    async def renew(self, digests: Sequence[str]) -> bool:
        """Let blobs live as long again as new ones. False if one is gone. Raises StoreUnavailable."""
        expires_unix_ns = self._new_expiry()
        async with self.database.transaction() as connection:
            renewed = [
                await connection.run(
                    "UPDATE blobs SET expires_unix_ns = CASE WHEN expires_unix_ns < $1 THEN $1 "
                    "ELSE expires_unix_ns END WHERE digest = $2",
                    *(expires_unix_ns, digest),
                )
                for digest in digests
            ]
        return all(renewed)

    async def release(self, digests: Sequence[str]) -> None:
        """Let blobs expire that no preset needs any more. Raises StoreUnavailable."""
        expires_unix_ns = self._new_expiry()
        async with self.database.transaction() as connection:
            await connection.run(_LOCK_PRESETS)
            for digest in digests:
                needed = await connection.rows(
                    "SELECT 1 FROM presets WHERE document LIKE $1 LIMIT 1", f"%{digest}%"
                )
                if not needed:
                    await connection.run(
                        "UPDATE blobs SET expires_unix_ns = $1 WHERE digest = $2", expires_unix_ns, digest
                    )

    def _new_expiry(self) -> int:
        return time.time_ns() + round(self.lifetime_seconds * NS_PER_SECOND)

    async def _used(self) -> int:
        async with self.database.transaction() as connection:
            ((used,),) = await connection.rows(_TOTAL)
        return int(used)

    async def _delete_unneeded(self) -> None:
        """Delete kept blobs that no preset names: of a frontend that ended between deleting a preset and
        releasing its blobs.
        """
        async with self.database.transaction() as connection:
            await connection.run(_LOCK_PRESETS)
            await connection.run(
                "DELETE FROM blobs WHERE expires_unix_ns = $1 AND NOT EXISTS "
                "(SELECT 1 FROM presets WHERE document LIKE '%' || blobs.digest || '%')",
                _NEVER,
            )


async def keep_blobs(connection: Connection, digests: Sequence[str]) -> bool:
    """Let blobs never expire; in the transaction that writes the preset which needs them, so that none is
    kept without. False if one is gone.
    """
    kept = [
        await connection.run("UPDATE blobs SET expires_unix_ns = $1 WHERE digest = $2", _NEVER, digest)
        for digest in digests
    ]
    return all(kept)
