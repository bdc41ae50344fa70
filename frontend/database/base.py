"""Interface of a database: transactions with statements in the SQL that SQLite and PostgreSQL share.

Parameters are `$1`, `$2` and so on. Each statement is written once for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Value = str | int | bytes


class Connection(Protocol):
    """A connection within a transaction. Raises the driver's `errors`."""

    async def run(self, statement: str, *values: Value) -> int:
        """Execute a change. Returns the number of rows that it affected."""

    async def rows(self, statement: str, *values: Value) -> Sequence[tuple[Any, ...]]: ...


class Driver(Protocol):
    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its library raises when the database cannot be used, in addition to OSError."""

    @property
    def lock_schema(self) -> str:
        """The statement that keeps other processes from changing the schema until the transaction ends."""

    @property
    def lock_counts(self) -> str:
        """The statement that keeps other processes from changing the counts of keys until the transaction
        ends.
        """

    @property
    def clock(self) -> str:
        """The statement whose result is the database's time in microseconds since 1970."""

    @property
    def find_table(self) -> str:
        """The statement whose result has a row where there is a table of the name `$1`."""

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """Commit at the end, roll back on any error. Drops the connection when cancelled."""

    async def close(self) -> None:
        """Close after running statements have ended."""

    def drop(self) -> None:
        """Close without waiting."""
