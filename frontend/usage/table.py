"""Rows of usage as objects, as CSV and as a table of text."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from frontend.usage.rows import UsageRow
from frontend.usage.tally import COLUMNS, SECONDS, Tally, shown

_HEADER = ("day", "key", "key_name", "model", "served_model", *(SECONDS.get(each, each) for each in COLUMNS))
# Spreadsheets take a text that begins so for a formula.
_FORMULA = ("=", "+", "-", "@")
# The columns before the figures.
_NAMES = len(_HEADER) - len(COLUMNS)


def members(row: UsageRow) -> dict[str, str | int | float]:
    """As clients get it."""
    key = row.key
    return {
        "day": key.day,
        "key": key.key,
        "key_name": row.key_name,
        "model": key.model,
        "served_model": key.served,
        **shown(row.tally),
    }


def csv_text(rows: Sequence[UsageRow]) -> str:
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(_HEADER)
    for row in rows:
        writer.writerow([_cell(value) for value in members(row).values()])
    return out.getvalue()


def text_table(rows: Sequence[UsageRow]) -> str:
    """In columns for a terminal, with the sums."""
    total = shown(Tally.sum_of(row.tally for row in rows))
    lines = [
        _HEADER,
        *([_text(value) or "-" for value in members(row).values()] for row in rows),
        ["total", *[""] * (_NAMES - 1), *map(_text, total.values())],
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            word.ljust(width) if number < _NAMES else word.rjust(width)
            for number, (word, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _cell(value: str | float) -> str:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else _text(value)


def _text(value: str | float) -> str:
    """Seconds without an exponent, which people and some programs do not read."""
    return f"{value:.6f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
