"""A page of documentation with parts that are generated from the code.

A part stands between `<!-- NAME -->` and `<!-- end -->`, each on a line of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_DOCS = Path(__file__).resolve().parent.parent / "docs"


@dataclass(frozen=True, slots=True)
class GeneratedPage:
    """`parts`: the generated texts by their names. `task`: the make target that rewrites the page."""

    name: str
    parts: Mapping[str, str]
    task: str

    @property
    def path(self) -> Path:
        return _DOCS / self.name

    def rewritten(self, text: str) -> str:
        """The page with its generated parts up to date."""
        for name, part in self.parts.items():
            before, begin, rest = text.partition(f"<!-- {name} -->\n")
            _, end, after = rest.partition("<!-- end -->")
            if not (begin and end):
                raise SystemExit(f"docs/{self.name}: there is no '<!-- {name} -->' with an '<!-- end -->'")
            text = f"{before}{begin}{part}\n{end}{after}"
        return text

    def is_current(self, text: str) -> bool:
        return self.rewritten(text) == text

    def main(self, arguments: Sequence[str]) -> int:
        """Rewrite the page; with `--check` only compare. Returns the exit status."""
        text = self.path.read_text(encoding="utf-8")
        if "--check" in arguments:
            if not self.is_current(text):
                print(f"docs/{self.name} is out of date: run 'make {self.task}'", file=sys.stderr)
                return 1
            return 0
        self.path.write_text(self.rewritten(text), encoding="utf-8")
        return 0


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(' '.join(cell.split()) for cell in line)} |" for line in lines)
