"""Numbers as Ollama writes them."""

from __future__ import annotations


def human_count(count: int) -> str:
    """Parameter counts: 134.52M, 3.2B, 8B."""
    for unit, size, digits in (("B", 10**9, 1), ("M", 10**6, 2), ("K", 10**3, 0)):
        if count >= size:
            amount = count / size
            return f"{amount:.0f}{unit}" if amount == int(amount) else f"{amount:.{digits}f}{unit}"
    return str(count)
