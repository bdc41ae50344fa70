"""`drover-frontend usage`: prints what the database has of usage."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from drover.errors import DroverError, StoreUnavailable
from frontend.database.database import Database
from frontend.settings import FrontendSettings
from frontend.usage.query import MAX_LIMIT, UsageQuery
from frontend.usage.rows import UsageRow, UsageRows
from frontend.usage.table import csv_text, text_table

_ABOUT = "Requests, tokens and seconds per day, key and model, as the frontends have written them."


def run(argv: Sequence[str]) -> int:
    """The exit status: 0, or 1 with an error on standard error; wrong usage exits with 2."""
    arguments = _parser().parse_args(argv)
    settings = FrontendSettings.load(
        ["--database-url", arguments.database_url] if arguments.database_url else []
    )
    names = {"first": "from", "last": "to", "key": "key", "model": "model"}
    parameters = {name: getattr(arguments, field) for field, name in names.items()}
    try:
        rows = asyncio.run(_read(settings, parameters))
    except DroverError as error:
        cause = f" ({error.__cause__})" if error.__cause__ is not None else ""
        sys.stderr.write(f"{error.message}{cause}\n")
        return 1
    if arguments.csv:
        sys.stdout.write(csv_text(rows))
    else:
        sys.stdout.write(f"{text_table(rows) if rows else 'no usage of that'}\n")
    return 0


async def _read(settings: FrontendSettings, parameters: Mapping[str, str]) -> Sequence[UsageRow]:
    """All pages."""
    query = replace(UsageQuery.read(parameters, None, datetime.now(UTC).date()), limit=MAX_LIMIT)
    database = Database(settings.database, settings.database_timeout_seconds)
    if not database.exists:
        raise StoreUnavailable(
            f"there is no database {database}: frontends make it; --database-url names the one that they use"
        )
    found: list[UsageRow] = []
    try:
        while True:
            page = await UsageRows(database).read(query)
            found += page
            if len(page) < query.limit:
                return found
            query = replace(query, after=page[-1].key)
    finally:
        await database.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="drover-frontend usage", description=_ABOUT)
    parser.add_argument("--from", dest="first", default="", help="the first day; 29 days before the last one")
    parser.add_argument("--to", dest="last", default="", help="the last day; today in UTC")
    parser.add_argument("--key", default="", help="a key's id or name")
    parser.add_argument("--model", default="", help="the name that clients asked for")
    parser.add_argument("--csv", action="store_true", help="print CSV")
    parser.add_argument(
        "--database-url",
        default="",
        help=f"the frontends' database; else {FrontendSettings.environment_variable('database_url')}, or the "
        "default of a frontend of this user",
    )
    return parser
