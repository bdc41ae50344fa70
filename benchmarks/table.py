"""Plain-text tables and progress."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: first column left-aligned, numbers right-aligned. A head may have several lines."""
    head_lines = [head.split("\n") for head in heads]
    height = max(map(len, head_lines))
    padded = [[""] * (height - len(lines)) + lines for lines in head_lines]
    cells = [[lines[at] for lines in padded] for at in range(height)] + [list(row) for row in rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    shown = [_line(row, widths) for row in cells]
    return "\n".join(
        [title, *shown[:height], _line(["-" * width for width in widths], widths), *shown[height:]]
    )


def progress(text: str) -> None:
    print(f"  {text}", file=sys.stderr, flush=True)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first = cells[0].ljust(widths[0])
    rest = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
    return "  ".join(["", first, *rest]).rstrip()
