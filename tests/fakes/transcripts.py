"""What a real Ollama answered, as recorded in `reference/ollama-transcripts.jsonl`, and in
`ollama-scripted.jsonl` with an engine that said what a script told it to.

The recordings stand beside the checkout (or in its `shared/`), or where DROVER_REFERENCE says.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.go_words import as_released

_NAME = "ollama-transcripts.jsonl"
_SCRIPTED_NAME = "ollama-scripted.jsonl"
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Exchange:
    case: str
    path: str
    body: bytes
    status: int
    content_type: str
    answer: str

    def error(self) -> str:
        error = json.loads(self.answer)["error"]
        assert isinstance(error, str)
        return as_released(error)

    def __str__(self) -> str:
        return self.case


@cache
def exchanges() -> list[Exchange]:
    """Every POST; none where the recording is not at hand: what is parametrised with it is then skipped."""
    return _recorded(_NAME)


@cache
def scripted_exchanges() -> list[Exchange]:
    return _recorded(_SCRIPTED_NAME)


def on(path: str) -> list[Exchange]:
    return [exchange for exchange in exchanges() if exchange.path == path]


def case(name: str) -> Exchange:
    return _named(name, exchanges(), _NAME)


def scripted_case(name: str) -> Exchange:
    return _named(name, scripted_exchanges(), _SCRIPTED_NAME)


def _named(name: str, recorded: list[Exchange], file_name: str) -> Exchange:
    if not recorded:
        pytest.skip(f"{file_name} is not beside this checkout")
    return next(exchange for exchange in recorded if exchange.case == name)


def _recorded(file_name: str) -> list[Exchange]:
    return [_exchange(row) for row in rows(file_name) if row.get("request", {}).get("method") == "POST"]


def rows(file_name: str) -> list[dict[str, Any]]:
    folders = [Path(os.environ["DROVER_REFERENCE"])] if "DROVER_REFERENCE" in os.environ else []
    folders += [_ROOT / "shared" / "reference", _ROOT.parent / "shared" / "reference"]
    for folder in folders:
        if (folder / file_name).is_file():
            return [json.loads(line) for line in (folder / file_name).read_text().splitlines()]
    return []


def _exchange(row: dict[str, Any]) -> Exchange:
    request, response = row["request"], row["response"]
    body = request.get("body", "")
    raw = body if isinstance(body, str) else json.dumps(body)
    content_type = response.get("content_type") or response["headers"].get("content-type", "")
    return Exchange(
        row["case"], request["path"], raw.encode(), response["status"], content_type, response["body"]
    )


def scripts() -> dict[str, object]:
    """What the scripted engine said, by the word in the prompt that made it say so."""
    found = {}
    for row in rows(_SCRIPTED_NAME):
        script = row.get("script")
        words = re.findall(r"#\w+", json.dumps(row.get("request", {}).get("body", "")))
        if words and script is not None:
            found[words[-1]] = script
    return found


def scripted_template() -> str:
    """The Go template of the model that the scripts were recorded with."""
    return next((str(row["template"]) for row in rows(_SCRIPTED_NAME) if "template" in row), "")
