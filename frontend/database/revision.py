"""The revision of some rows: a number that each change increments, so that one read shows whether any has
changed.
"""

from __future__ import annotations

from dataclasses import dataclass

from frontend.database.base import Connection


@dataclass(frozen=True, slots=True)
class Revision:
    """`table`: its own, with one row."""

    table: str

    async def read(self, connection: Connection) -> int:
        ((revision,),) = await connection.rows(f"SELECT revision FROM {self.table}")
        return int(revision)

    async def increment(self, connection: Connection) -> int:
        """The first statement of each change: it takes the lock that orders changes. Returns the new one."""
        await connection.run(f"UPDATE {self.table} SET revision = revision + 1")
        return await self.read(connection)
