"""Names of properties that are not listed, as JSON strings."""

from __future__ import annotations

from collections.abc import Sequence

from engine_worker.schemas import json_text
from engine_worker.schemas.patterns import read_pattern
from engine_worker.schemas.terms import ANY, EMPTY, NOTHING, Chars, Term, choice, repeat, sequence

_Tree = dict[str, "_Tree"]
_END = ""
_ANYTHING = repeat(ANY)


def other_names(allowed: object, taken: Sequence[str]) -> Term:
    """`allowed`: a simple schema of strings, or None for any. No key comes twice, as far as the listed ones
    go; a pattern is not compared with them.
    """
    if isinstance(allowed, dict) and isinstance(values := allowed.get("enum"), list):
        return choice(*(json_text.literal(value) for value in values if value not in taken))
    if isinstance(allowed, dict) and isinstance(pattern := allowed.get("pattern"), str):
        return json_text.string(read_pattern(pattern))
    if isinstance(allowed, dict) and ("minLength" in allowed or "maxLength" in allowed):
        least, most = allowed.get("minLength", 0), allowed.get("maxLength")
        assert isinstance(least, int)
        assert most is None or isinstance(most, int)
        return json_text.any_string(least, most)
    if not taken:
        return json_text.any_string()
    return json_text.string(_none_of(_tree(taken)))


def _tree(names: Sequence[str]) -> _Tree:
    tree: _Tree = {}
    for name in names:
        branch = tree
        for character in name:
            branch = branch.setdefault(character, {})
        branch[_END] = {}
    return tree


def _none_of(tree: _Tree) -> Term:
    """Texts that are none of the tree's: those that leave it, and those that end within."""
    nexts = {character: branch for character, branch in tree.items() if character != _END}
    known = Chars.text("".join(nexts))
    leaves = sequence(known.complement() if nexts else ANY, _ANYTHING)
    inner = [sequence(Chars.text(character), _none_of(branch)) for character, branch in nexts.items()]
    ends = NOTHING if _END in tree else EMPTY
    return choice(leaves, *inner, ends)
