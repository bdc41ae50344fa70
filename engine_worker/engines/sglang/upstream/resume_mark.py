"""How a request says that its grammar goes on: a mark before the grammar, and a count.

Known to this worker's processes only, so that no client can write it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

_VARIABLE = "DROVER_RESUME_MARK"
_GRAMMARS = ("json_schema", "regex", "ebnf", "structural_tag")


def choose() -> None:
    """Before SGLang starts its processes, which inherit it."""
    os.environ[_VARIABLE] = f"drover-resume-{secrets.token_hex(16)}:"


def write(constraint: Mapping[str, object], produced: int) -> dict[str, object]:
    """The constraint of a request whose prompt ends with `produced` tokens of its answer."""
    mark = os.environ[_VARIABLE]
    return {
        name: f"{mark}{produced}:{value}" if name in _GRAMMARS and produced else value
        for name, value in constraint.items()
    }


def read(source: str) -> tuple[str, int]:
    """A grammar without its mark, and how many of the prompt's last tokens it accepts first."""
    mark = os.environ.get(_VARIABLE)
    if not mark or not source.startswith(mark):
        return source, 0
    count, _, plain = source.removeprefix(mark).partition(":")
    return plain, int(count)
