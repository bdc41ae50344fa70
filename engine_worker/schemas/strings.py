"""Strings: one pattern or the length, whichever says more. A grammar cannot have both at once."""

from __future__ import annotations

from collections.abc import Callable

from engine_worker.schemas import formats, malformed
from engine_worker.schemas.cost import length_of
from engine_worker.schemas.counted import counted
from engine_worker.schemas.merged import Merged
from engine_worker.schemas.patterns import Unsupported, read_pattern

Schema = dict[str, object]
Drop = Callable[[str], None]


def string_piece(merged: Merged, drop: Drop) -> Schema | None:
    """None where no length is possible."""
    least = _lengths("minLength", merged, drop)
    most = _lengths("maxLength", merged, drop)
    shortest = max(least, default=0)
    longest = min(most, default=None)
    if (longest is not None and shortest > longest) or shortest > malformed.MOST_COUNTED:
        return None
    pattern = _pattern(merged, drop)
    if pattern is None:
        piece: Schema = {"type": "string"}
        if shortest:
            piece["minLength"] = shortest
        return (
            piece if longest is None or longest > malformed.MOST_COUNTED else {**piece, "maxLength": longest}
        )
    piece = {"type": "string", "pattern": pattern}
    term = read_pattern(pattern)
    if counted(term, 0, None) is not None:
        lengths = {"minLength": shortest, "maxLength": longest}
        return piece | {name: value for name, value in lengths.items() if value}
    shortest_of_pattern, longest_of_pattern = length_of(term)
    if shortest > shortest_of_pattern:
        drop("minLength")
    if longest is not None and (longest_of_pattern is None or longest_of_pattern > longest):
        drop("maxLength")
    return piece


def _pattern(merged: Merged, drop: Drop) -> str | None:
    """The first that a grammar can have: patterns before formats, since they say more."""
    chosen: str | None = None
    for value in dict.fromkeys(each for each in merged.all("pattern") if isinstance(each, str)):
        if chosen is None and _is_readable(value):
            chosen = value
        else:
            drop("pattern")
    if any(not isinstance(each, str) for each in merged.all("pattern")):
        drop("pattern")
    for name in merged.all("format"):
        if isinstance(name, str) and name in formats.DESCRIBE:
            continue
        pattern = formats.pattern_of(name) if isinstance(name, str) else None
        if chosen is None and pattern is not None:
            chosen = pattern
        elif pattern != chosen if pattern is not None else chosen is None:
            # One that is not known, next to a pattern, is a name for that pattern.
            drop("format")
    return chosen


def _is_readable(pattern: str) -> bool:
    try:
        read_pattern(pattern)
    except Unsupported:
        return False
    return True


def _lengths(keyword: str, merged: Merged, drop: Drop) -> list[int]:
    counts = [malformed.count(value) for value in merged.all(keyword)]
    if None in counts:
        drop(keyword)
    return [count for count in counts if count is not None]
