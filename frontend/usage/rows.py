"""Usage as rows of the database, to which several frontends add."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from frontend.database.base import Connection, Value
from frontend.database.database import Database
from frontend.usage.query import UsageQuery
from frontend.usage.tally import COLUMNS, Tally, UsageKey

# Rows that are deleted in one transaction.
_DELETED_AT_ONCE = 1_000
_KEY_COLUMNS = ", ".join(UsageKey._fields)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one frontend writes in one transaction. `number`: grows with each batch of the `writer`.
    `names`: of the keys, by their ids.
    """

    writer: str
    number: int
    tallies: Mapping[UsageKey, Tally]
    names: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UsageRow:
    key: UsageKey
    key_name: str
    tally: Tally


class UsageRows:
    """All methods raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, batch: Batch) -> None:
        """Add a batch once, however often it is written: a commit may have succeeded that was not confirmed.
        Rows are locked in the order of their keys, so that frontends do not deadlock.
        """
        async with self._database.transaction() as connection:
            if not await _is_new(connection, batch):
                return
            for key, tally in sorted(batch.tallies.items()):
                await connection.run(_ADD, *key, batch.names.get(key.key, ""), *tally.values())

    async def read(self, query: UsageQuery) -> Sequence[UsageRow]:
        """A page of rows in the order of their keys."""
        where, values = _condition(query)
        if query.after is not None:
            at = len(values)
            where += f" AND ({_KEY_COLUMNS}) > (${at + 1}, ${at + 2}, ${at + 3}, ${at + 4})"
            values = [*values, *query.after]
        async with self._database.transaction() as connection:
            rows = await connection.rows(
                f"SELECT {_KEY_COLUMNS}, key_name, {', '.join(COLUMNS)} FROM usage WHERE {where} "
                f"ORDER BY {_KEY_COLUMNS} LIMIT {query.limit}",
                *values,
            )
        return [_row(row) for row in rows]

    async def total(self, query: UsageQuery) -> Tally:
        """The sum of all pages."""
        where, values = _condition(query)
        sums = ", ".join(f"CAST(COALESCE(SUM({column}), 0) AS BIGINT)" for column in COLUMNS)
        async with self._database.transaction() as connection:
            rows = await connection.rows(f"SELECT {sums} FROM usage WHERE {where}", *values)
        return Tally(*rows[0])

    async def delete_before(self, day: str) -> None:
        """Delete the rows of earlier days, in small transactions."""
        while True:
            async with self._database.transaction() as connection:
                deleted = await connection.run(_DELETE, day)
                if deleted < _DELETED_AT_ONCE:
                    await connection.run("DELETE FROM usage_writers WHERE day < $1", day)
                    return


_ADD = (
    f"INSERT INTO usage ({_KEY_COLUMNS}, key_name, {', '.join(COLUMNS)}) "
    f"VALUES ({', '.join(f'${number + 1}' for number in range(5 + len(COLUMNS)))}) "
    f"ON CONFLICT ({_KEY_COLUMNS}) DO UPDATE SET key_name = excluded.key_name, "
    + ", ".join(f"{column} = usage.{column} + excluded.{column}" for column in COLUMNS)
)
_DELETE = (
    f"DELETE FROM usage WHERE ({_KEY_COLUMNS}) IN "
    f"(SELECT {_KEY_COLUMNS} FROM usage WHERE day < $1 ORDER BY {_KEY_COLUMNS} LIMIT {_DELETED_AT_ONCE})"
)


async def _is_new(connection: Connection, batch: Batch) -> bool:
    """Note the batch. Waits for an earlier attempt whose transaction still runs in the database."""
    day = max(key.day for key in batch.tallies)
    noted = await connection.run(
        "INSERT INTO usage_writers (writer, batch, day) VALUES ($1, $2, $3) "
        "ON CONFLICT (writer) DO UPDATE SET batch = excluded.batch, day = excluded.day "
        "WHERE usage_writers.batch < excluded.batch",
        *(batch.writer, batch.number, day),
    )
    return noted > 0


def _condition(query: UsageQuery) -> tuple[str, list[Value]]:
    condition, values = "day >= $1 AND day <= $2", [query.first, query.last]
    if query.own_key is not None:
        values.append(query.own_key)
        condition += f" AND key = ${len(values)}"
    if query.key:
        values.append(query.key)
        condition += f" AND (key = ${len(values)} OR key_name = ${len(values)})"
    if query.model:
        values.append(query.model)
        condition += f" AND LOWER(model) = ${len(values)}"
    return condition, list(values)


def _row(row: tuple[Any, ...]) -> UsageRow:
    return UsageRow(UsageKey(*row[:4]), row[4], Tally(*row[5:]))
