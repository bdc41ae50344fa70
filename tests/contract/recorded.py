"""The recorded exchanges, in the order in which they were made: later ones see what earlier ones did."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from tests.fakes.contract_changes import answer_of_now
from tests.fakes.go_error_messages import as_released
from tests.fakes.transcripts import RECORDED, rows


@dataclass(frozen=True)
class Recorded:
    number: int
    case: str
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    answer_headers: Mapping[str, str]
    answer: str

    def __str__(self) -> str:
        return f"{self.number:03d} {self.case}"


# Those have contract tests of their own.
_ELSEWHERE = ("/v1/messages", "/v1/responses")
# Upstream refuses several prompts. Here they are answered, at length, by a model that is asked for no end.
_REFUSED_ONLY_THERE = ("v1 completions list",)


def replayed() -> list[Recorded]:
    """All but those that have contract tests of their own."""
    return [
        each for each in _all() if not (each.path.startswith(_ELSEWHERE) or each.case in _REFUSED_ONLY_THERE)
    ]


def below(*paths: str) -> list[Recorded]:
    """Those whose path begins with one of these; none of them changes what others see."""
    return [each for each in _all() if each.path.startswith(paths)]


def _all() -> list[Recorded]:
    return [_recorded(number, row) for number, row in enumerate(rows(RECORDED))]


def _recorded(number: int, row: Mapping[str, object]) -> Recorded:
    request, response = row["request"], row["response"]
    assert isinstance(request, dict)
    assert isinstance(response, dict)
    body = request.get("body", "")
    raw = body if isinstance(body, str) else json.dumps(body)
    return Recorded(
        number=number,
        case=str(row["case"]),
        method=request["method"],
        path=request["path"],
        headers=request.get("headers", {}),
        body=raw.encode(),
        status=response["status"],
        answer_headers=response["headers"],
        answer=answer_of_now(request["path"], raw, as_released(response["body"])),
    )
