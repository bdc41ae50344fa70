"""What a real Ollama answered, as recorded in `reference/ollama-transcripts.jsonl`.

The recording stands beside the checkout (or in its `shared/`), or where DROVER_REFERENCE says.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

_NAME = "ollama-transcripts.jsonl"
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Exchange:
    case: str
    path: str
    body: bytes
    status: int
    answer: str

    def error(self) -> str:
        error = json.loads(self.answer)["error"]
        assert isinstance(error, str)
        return error

    def __str__(self) -> str:
        return self.case


@cache
def exchanges() -> list[Exchange]:
    """Every POST; none where the recording is not at hand: what is parametrised with it is then skipped."""
    folders = [Path(os.environ["DROVER_REFERENCE"])] if "DROVER_REFERENCE" in os.environ else []
    folders += [_ROOT / "shared" / "reference", _ROOT.parent / "shared" / "reference"]
    for folder in folders:
        if (folder / _NAME).is_file():
            rows = [json.loads(line) for line in (folder / _NAME).read_text().splitlines()]
            return [_exchange(row) for row in rows if row["request"]["method"] == "POST"]
    return []


def on(path: str) -> list[Exchange]:
    return [exchange for exchange in exchanges() if exchange.path == path]


def case(name: str) -> Exchange:
    if not exchanges():
        pytest.skip(f"{_NAME} is not beside this checkout")
    return next(exchange for exchange in exchanges() if exchange.case == name)


def _exchange(row: dict[str, Any]) -> Exchange:
    request, response = row["request"], row["response"]
    body = request.get("body", "")
    raw = body if isinstance(body, str) else json.dumps(body)
    return Exchange(row["case"], request["path"], raw.encode(), response["status"], response["body"])
