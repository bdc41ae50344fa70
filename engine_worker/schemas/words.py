"""Terms that are one text."""

from __future__ import annotations

from engine_worker.schemas.terms import Chars, Sequence, Term


def literal_of(term: Term) -> str | None:
    """The only text that a term matches, where it has only one and that is not empty."""
    match term:
        case Chars(((low, high),)) if low == high:
            return chr(low)
        case Sequence(parts) if parts:
            texts = [literal_of(part) for part in parts]
            known = [text for text in texts if text is not None]
            return "".join(known) if len(known) == len(texts) else None
        case _:
            return None
