"""Patterns that are one character again and again: they can have bounds for their length, too."""

from __future__ import annotations

from engine_worker.schemas.terms import NOTHING, Chars, Repeat, Term, repeat


def counted(pattern: Term, least: int, most: int | None) -> Term | None:
    """None for other patterns."""
    if not (isinstance(pattern, Repeat) and isinstance(pattern.part, Chars)):
        return None
    ends = [end for end in (pattern.most, most) if end is not None]
    longest = min(ends, default=None)
    shortest = max(pattern.least, least)
    return NOTHING if longest is not None and shortest > longest else repeat(pattern.part, shortest, longest)
