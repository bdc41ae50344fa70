"""Simplifies schemas of strings: a pattern, or bounds of the length; a grammar can seldom have both."""

from __future__ import annotations

from collections.abc import Callable

from engine_worker.schemas import schema_reader, string_formats
from engine_worker.schemas.cost_limits import length_of
from engine_worker.schemas.merged import MergedSchema
from engine_worker.schemas.patterns import Unsupported, read_pattern, with_length_bounds

Schema = dict[str, object]
Drop = Callable[[str], None]


def simplify_string(merged: MergedSchema, drop: Drop) -> Schema | None:
    """A simple schema of a string; None if no length is possible."""
    least = _lengths("minLength", merged, drop)
    most = _lengths("maxLength", merged, drop)
    shortest = max(least, default=0)
    longest = min(most, default=None)
    if (longest is not None and shortest > longest) or shortest > schema_reader.MAX_COUNT:
        return None
    pattern = _pattern(merged, drop)
    if pattern is None:
        piece: Schema = {"type": "string"}
        if shortest:
            piece["minLength"] = shortest
        return (
            piece if longest is None or longest > schema_reader.MAX_COUNT else {**piece, "maxLength": longest}
        )
    piece = {"type": "string", "pattern": pattern}
    term = read_pattern(pattern)
    if with_length_bounds(term, 0, None) is not None:
        lengths = {"minLength": shortest, "maxLength": longest}
        return piece | {name: value for name, value in lengths.items() if value}
    shortest_of_pattern, longest_of_pattern = length_of(term)
    if shortest > shortest_of_pattern:
        drop("minLength")
    if longest is not None and (longest_of_pattern is None or longest_of_pattern > longest):
        drop("maxLength")
    return piece


def _pattern(merged: MergedSchema, drop: Drop) -> str | None:
    """The first pattern that a grammar can express; patterns before formats, which are less specific."""
    chosen: str | None = None
    for value in dict.fromkeys(each for each in merged.all("pattern") if isinstance(each, str)):
        if chosen is None and _is_readable(value):
            chosen = value
        else:
            drop("pattern")
    if any(not isinstance(each, str) for each in merged.all("pattern")):
        drop("pattern")
    for name in merged.all("format"):
        if isinstance(name, str) and name in string_formats.DESCRIBE:
            continue
        pattern = string_formats.pattern_of(name) if isinstance(name, str) else None
        if chosen is None and pattern is not None:
            chosen = pattern
        elif pattern != chosen if pattern is not None else chosen is None:
            # An unknown format next to a pattern is taken for a name of that pattern.
            drop("format")
    return chosen


def _is_readable(pattern: str) -> bool:
    try:
        read_pattern(pattern)
    except Unsupported:
        return False
    return True


def _lengths(keyword: str, merged: MergedSchema, drop: Drop) -> list[int]:
    counts = [schema_reader.count(value) for value in merged.all(keyword)]
    if None in counts:
        drop(keyword)
    return [count for count in counts if count is not None]
