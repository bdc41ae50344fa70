"""The rows of responses that run in the background, each of which has one runner: a frontend process.

The runner renews the leases of its rows. A row whose lease has expired belonged to a frontend that has
stopped; the next frontend that reads it writes its end.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from drover.durations import NS_PER_SECOND
from frontend.database.base import Connection
from frontend.database.database import Database
from frontend.models.stored_responses import RUNNING


@dataclass(frozen=True, slots=True)
class Progress:
    """`status`: of a response that runs. `frames`: its new events, of which the first has the sequence number
    `first`.
    """

    id: str
    status: str
    first: int = 0
    frames: bytes = b""


@dataclass(frozen=True, slots=True)
class RunningResponses:
    """The rows of one runner. All methods raise StoreUnavailable."""

    database: Database
    lease_seconds: float
    runner: str = field(default_factory=lambda: secrets.token_hex(16))

    def lease_unix_ns(self) -> int:
        """The end of a lease that is taken now."""
        return time.time_ns() + round(self.lease_seconds * NS_PER_SECOND)

    async def renew(self, progress: Sequence[Progress]) -> Collection[str]:
        """Write the progress and renew the leases. Returns the ids of those that still run: another frontend
        may have cancelled or deleted the others.
        """
        async with self.database.transaction() as connection:
            await connection.run(
                "UPDATE responses SET lease_unix_ns = $1 WHERE runner = $2 AND status IN ($3, $4)",
                *(self.lease_unix_ns(), self.runner, *RUNNING),
            )
            rows = await connection.rows(
                "SELECT id FROM responses WHERE runner = $1 AND status IN ($2, $3)", self.runner, *RUNNING
            )
            running = {row[0] for row in rows}
            for each in progress:
                if each.id in running:
                    await _write(connection, each)
        return running

    async def end(self, progress: Progress, document: bytes, runner: str | None = None) -> bool:
        """Write the end of a response, and its last events; False where it is gone, has ended already or is
        not of the runner: this one, or the one that is named.
        """
        async with self.database.transaction() as connection:
            changed = await connection.run(
                "UPDATE responses SET status = $2, runner = '', size_bytes = size_bytes + $3 "
                "WHERE id = $1 AND status IN ($4, $5) AND runner = $6",
                *(progress.id, progress.status, len(document), *RUNNING, runner or self.runner),
            )
            if changed:
                await connection.run(
                    "UPDATE response_documents SET document = $2 WHERE id = $1", progress.id, document
                )
                await _write(connection, progress)
        return changed > 0

    async def events(self, response_id: str, number: int) -> tuple[int, bytes]:
        """Stored events from the sequence number on, or from an earlier one, and the number of the first."""
        async with self.database.transaction() as connection:
            rows = await connection.rows(
                "SELECT first, frames FROM response_events WHERE id = $1 AND first >= "
                "COALESCE((SELECT MAX(first) FROM response_events WHERE id = $1 AND first <= $2), 0) "
                "ORDER BY first LIMIT 16",
                *(response_id, number),
            )
        return (rows[0][0], b"".join(row[1] for row in rows)) if rows else (0, b"")

    async def has_events(self, response_id: str) -> bool:
        """True for a response whose events are stored."""
        async with self.database.transaction() as connection:
            rows = await connection.rows("SELECT 1 FROM response_events WHERE id = $1 LIMIT 1", response_id)
        return bool(rows)


async def _write(connection: Connection, progress: Progress) -> None:
    await connection.run(
        "UPDATE responses SET status = $2, size_bytes = size_bytes + $3 WHERE id = $1",
        *(progress.id, progress.status, len(progress.frames)),
    )
    if progress.frames:
        # They may be there already, with fewer events, after a commit that was not confirmed in time.
        await connection.run(
            "INSERT INTO response_events (id, first, frames) VALUES ($1, $2, $3) "
            "ON CONFLICT (id, first) DO UPDATE SET frames = excluded.frames",
            *(progress.id, progress.first, progress.frames),
        )
