"""Recorded exchanges with a real Ollama, and with one whose engine played scripts.

`tests/contract/recordings/README.md` has the servers, the dates and the format.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.fakes.contract_changes import answer_of_now
from tests.fakes.go_error_messages import as_released

RECORDED = "ollama-0.33-2026-11-23.jsonl"
SCRIPTED = "ollama-0.33-2026-11-23-scripted.jsonl"
RECORDINGS = Path(__file__).resolve().parents[1] / "contract" / "recordings"


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
    """Every recorded POST."""
    return _recorded(RECORDED)


@cache
def scripted_exchanges() -> list[Exchange]:
    return _recorded(SCRIPTED)


def on(path: str) -> list[Exchange]:
    return [exchange for exchange in exchanges() if exchange.path == path]


def case(name: str) -> Exchange:
    return _named(name, exchanges())


def scripted_case(name: str) -> Exchange:
    return _named(name, scripted_exchanges())


def _named(name: str, recorded: list[Exchange]) -> Exchange:
    return next(exchange for exchange in recorded if exchange.case == name)


def _recorded(file_name: str) -> list[Exchange]:
    return [_exchange(row) for row in rows(file_name) if row["request"]["method"] == "POST"]


def header(file_name: str) -> dict[str, Any]:
    """A recording's first line, which describes it."""
    return _lines(file_name)[0]


def rows(file_name: str) -> list[dict[str, Any]]:
    """A recording's exchanges. Raises FileNotFoundError: without them a test would prove nothing."""
    return _lines(file_name)[1:]


@cache
def _lines(file_name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDINGS / file_name).read_text().splitlines()]


def _exchange(row: dict[str, Any]) -> Exchange:
    request, response = row["request"], row["response"]
    body = request.get("body", "")
    raw = body if isinstance(body, str) else json.dumps(body)
    content_type = response.get("content_type") or response["headers"].get("content-type", "")
    return Exchange(
        row["case"],
        request["path"],
        raw.encode(),
        response["status"],
        content_type,
        answer_of_now(request["path"], raw, response["body"]),
    )


def scripts() -> dict[str, object]:
    """What the scripted engine said, by the word in the prompt that made it say so."""
    found = {}
    for row in rows(SCRIPTED):
        words = re.findall(r"#\w+", json.dumps(row["request"].get("body", "")))
        if words and row["script"] is not None:
            found[words[-1]] = row["script"]
    return found


def scripted_template() -> str:
    """The Go template of the model that the scripts were recorded with."""
    return str(header(SCRIPTED)["template"])
