"""Mark the grammar of a resumed request: a secret and a count in front of it.

Only this worker's processes know the secret, so no client can forge the mark. This module imports nothing of
SGLang: the worker process writes the mark, and SGLang's scheduler reads it (resume_grammar.py).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping

_VARIABLE = "DROVER_RESUME_MARK"
_GRAMMARS = ("json_schema", "regex", "ebnf", "structural_tag")


def choose() -> None:
    """Choose the secret. To be called before SGLang starts its processes, which inherit it."""
    os.environ[_VARIABLE] = f"drover-resume-{secrets.token_hex(16)}:"


def write(constraint: Mapping[str, object], produced: int) -> dict[str, object]:
    """Mark the constraint of a request whose prompt ends with `produced` tokens of its answer."""
    mark = os.environ[_VARIABLE]
    return {
        name: f"{mark}{produced}:{value}" if name in _GRAMMARS and produced else value
        for name, value in constraint.items()
    }


def read(source: str) -> tuple[str, int]:
    """Return a grammar without its mark, and how many of the prompt's last tokens it accepts first."""
    mark = os.environ.get(_VARIABLE)
    if not mark or not source.startswith(mark):
        return source, 0
    count, _, plain = source.removeprefix(mark).partition(":")
    return plain, int(count)
