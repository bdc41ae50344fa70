"""The interface of a database: statements in the SQL that SQLite and PostgreSQL share, within a transaction.

Parameters are `$1`, `$2` and so on. Only what both understand alike is used, so that each statement is
written once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Value = str | int | bytes


class Connection(Protocol):
    """One transaction's connection. Raises the driver's `errors`."""

    async def run(self, statement: str, *values: Value) -> int:
        """The number of rows that a change was about."""

    async def rows(self, statement: str, *values: Value) -> Sequence[tuple[Any, ...]]: ...


class Driver(Protocol):
    @property
    def errors(self) -> tuple[type[Exception], ...]:
        """What its library raises when the database cannot be used, besides OSError."""

    @property
    def lock_schema(self) -> str:
        """The statement that keeps other processes from changing the schema until the transaction ends."""

    @property
    def find_table(self) -> str:
        """The statement whose result has a row where there is a table of the name `$1`."""

    def transaction(self) -> AbstractAsyncContextManager[Connection]:
        """Committed at its end, rolled back by any error. Cancelled, it drops its connection."""

    async def close(self) -> None:
        """Waits for what is being done."""

    def drop(self) -> None:
        """Closes without waiting."""
