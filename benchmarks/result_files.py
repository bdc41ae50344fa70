"""Results files: values, machine and versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from benchmarks.parts.base import Part

RESULTS = Path(__file__).parent / "results"


def write(part: Part, facts: Mapping[str, object], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    content = {"machine": facts, "goals": [goal.raw() for goal in part.goals], **part.raw}
    text = json.dumps(_rounded(content), indent=1, ensure_ascii=False)
    (folder / f"{part.name}.json").write_text(text + "\n", encoding="utf-8")


def _rounded(value: object) -> object:
    """Round to four decimals, more than these measurements resolve."""
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {key: _rounded(one) for key, one in value.items()}
        case list() | tuple():
            return [_rounded(one) for one in value]
        case _:
            return value
