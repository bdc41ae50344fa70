"""Any text up to a fixed one, for grammars that have no words of their own for it."""

from __future__ import annotations

from engine_worker.schemas.terms import EMPTY, Chars, Ref, Term, choice, sequence


def until(closing: str, prefix: str) -> dict[str, Term]:
    """Rules for any text that ends where `closing` does for the first time; the first of them begins."""
    names = [f"{prefix}{matched}" for matched in range(len(closing))]
    rules: dict[str, Term] = {}
    for matched, name in enumerate(names):
        following: dict[int, list[str]] = {}
        for character in sorted(set(closing)):
            following.setdefault(_matched(closing, closing[:matched] + character), []).append(character)
        others = Chars.text(closing).complement()
        options: list[Term] = []
        for state, characters in following.items():
            chars = Chars.text("".join(characters))
            if state == 0:
                others = Chars.of((*others.ranges, *chars.ranges))
                continue
            rest = EMPTY if state == len(closing) else Ref(names[state])
            options.append(sequence(chars, rest))
        rules[name] = choice(*options, sequence(others, Ref(names[0])))
    return rules


def _matched(closing: str, seen: str) -> int:
    """How much of `closing` the end of `seen` is."""
    return max(length for length in range(len(seen) + 1) if closing.startswith(seen[len(seen) - length :]))
