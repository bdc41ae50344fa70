"""The table of keywords in docs/format.md: a column for each engine, written from what its library does.

python -m tests.schemas.table writes llama.cpp's column; in SGLang's environment it writes SGLang's.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from engine_worker.schemas.constraint import from_schema
from engine_worker.schemas.schema_to_grammar import Grammar
from tests.schemas.keywords import CASES, Case

PAGE = Path(__file__).parents[2] / "docs" / "format.md"
KEPT, NAMED, LOST = "kept", "named", "LOST"
_BEGIN, _END = "<!-- keywords -->\n", "<!-- end -->"
_ENGINES = ("llama.cpp", "SGLang")
_HEAD = ["| keyword | llama.cpp | SGLang | |", "|---|---|---|---|"]

# Whether a grammar takes a whole text.
Accepts = Callable[[Grammar, str], bool]


def outcome(case: Case, accepts: Accepts) -> str:
    """LOST: a text that breaks the schema is taken and nothing says so, or one that obeys it is not taken."""
    constraint = from_schema(case.text)
    if not all(accepts(constraint.grammar, text) for text in case.obey):
        return LOST
    if not any(accepts(constraint.grammar, text) for text in case.break_):
        return KEPT
    return NAMED if constraint.not_honoured else LOST


def column(engine: str) -> dict[str, str]:
    """Of the page, by keyword."""
    index = _ENGINES.index(engine) + 2
    rows = [line.split("|") for line in _table().splitlines()[len(_HEAD) :]]
    return {cells[1].strip().strip("`"): cells[index].strip() for cells in rows if len(cells) > index}


def write(engine: str, accepts: Accepts) -> None:
    columns = {name: column(name) for name in _ENGINES}
    columns[engine] = {case.keyword: outcome(case, accepts) for case in CASES}
    lines = list(_HEAD)
    for case in CASES:
        cells = [f"`{case.keyword}`", *(columns[name].get(case.keyword, "") for name in _ENGINES), case.note]
        lines.append(f"| {' | '.join(cells)} |".replace("  |", " |"))
    text = PAGE.read_text()
    PAGE.write_text(text.replace(_table(), "\n".join(lines) + "\n"))


def _table() -> str:
    return PAGE.read_text().partition(_BEGIN)[2].partition(_END)[0]


def main() -> None:
    try:
        from tests.schemas.xgrammar_accepts import accepts
    except ImportError:
        from tests.schemas.llguidance_accepts import accepts

        write("llama.cpp", accepts)
    else:
        write("SGLang", accepts)


if __name__ == "__main__":
    main()
