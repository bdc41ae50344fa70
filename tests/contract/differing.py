"""Requests on which this server once differed from a real Ollama, with that one's answers.

They were found by sending the same 3,070 requests to both; `recordings/` has the server and the date. Names
of hosts are masked in both answers. A body that was too long was cut, and ends with an ellipsis.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.contract.comparison import comparable
from tests.fakes.contract_changes import answer_of_now
from tests.fakes.go_error_messages import as_released

_FILE = Path(__file__).parent / "recordings" / "ollama-0.33.0-2026-11-29.jsonl"
_CUT = "…"
# Prompts of several hundred tokens, on a busy machine.
_SECONDS = 300.0
_SAME_VECTOR = 0.99
# In which an answer is compared; others are of the connection, or our own.
_HEADERS = (
    "allow", "location", "vary", "access-control-allow-origin", "access-control-allow-methods",
    "access-control-allow-headers", "access-control-max-age",
)  # fmt: skip
# Times, durations and counts of cached tokens, as text.
_VARYING = re.compile(r'(?<=_at":")[^"]*|(?<=_duration":)\d+|(?<=_cached_count":)\d+')
_MASKS = {"registry.ollama.ai": "MODEL-REGISTRY"}


@dataclass(frozen=True)
class Row:
    number: int
    case: str
    kind: str
    request: Mapping[str, Any]
    answer: Mapping[str, Any]
    before: Sequence[Mapping[str, Any]]

    def __str__(self) -> str:
        return f"{self.number:03d} {self.case}"[:80]

    @property
    def is_of_the_cli(self) -> bool:
        return "cli" in self.request

    @property
    def is_cut(self) -> bool:
        """The request itself, which cannot be sent again."""
        body = self.request.get("body")
        return isinstance(body, str) and body.endswith(_CUT)


@dataclass
class Answer:
    status: int
    headers: dict[str, list[str]] = field(default_factory=dict)
    body: str = ""


def rows() -> list[Row]:
    lines = _FILE.read_text().splitlines()[1:]
    return [_row(number, json.loads(line)) for number, line in enumerate(lines)]


def _row(number: int, row: Mapping[str, Any]) -> Row:
    return Row(number, row["case"], row["kind"], row["request"], row["answer"], row.get("before", ()))


def ask(address: str, request: Mapping[str, Any]) -> Answer:
    """Sent as it stands: other clients clean paths, and have headers of their own."""
    body = request.get("body")
    data = b"" if body is None else (body if isinstance(body, str) else json.dumps(body)).encode()
    headers = dict(request.get("headers", {}))
    connection = HTTPConnection(address, timeout=_SECONDS)
    connection.putrequest(request["method"], request["path"], skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    if data or request["method"] in ("POST", "PUT"):
        connection.putheader("Content-Length", str(len(data)))
    connection.endheaders(data)
    response = connection.getresponse()
    answer = Answer(response.status, body=response.read().decode())
    for name, value in response.getheaders():
        answer.headers.setdefault(name.lower(), []).append(value)
    connection.close()
    return answer


def differences(row: Row, ours: Answer) -> list[str]:
    """What a client could tell apart; empty for the same answer."""
    recorded = row.answer
    found = [] if ours.status == recorded["status"] else [f"status {ours.status} != {recorded['status']}"]
    headers = recorded.get("headers")
    if headers is not None:
        pairs = ((name, _tokens(ours.headers.get(name)), _tokens(headers.get(name))) for name in _HEADERS)
        found += [f"{name}: {mine} != {theirs}" for name, mine, theirs in pairs if mine != theirs]
    content_type = next(iter((headers or {}).get("content-type", ())), "")
    body = row.request.get("body", "")
    request = body if isinstance(body, str) else json.dumps(body)
    answer = answer_of_now(row.request["path"], request, as_released(recorded["body"]))
    found += _body(ours, answer, content_type)
    return found


def _numbers(body: str) -> list[float]:
    """The first vector of an answer, which may be cut in its last number; empty where there is none."""
    found = re.match(r'\{.*?"embeddings?":\[+([-\d.,e]*)', body)
    return [float(number) for number in found[1].split(",")[:-1]] if found else []


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    """With lengths: a vector that is a multiple of the other is not the same."""
    length = max(math.hypot(*one), math.hypot(*other))
    return sum(a * b for a, b in zip(one, other, strict=True)) / length**2


def _tokens(values: Sequence[str] | None) -> list[str] | None:
    """Of a list that may come in one header or in several."""
    return sorted(token.strip() for value in values for token in value.split(",")) if values else None


def _body(ours: Answer, recorded: str, content_type: str) -> list[str]:
    body = ours.body
    for name, mask in _MASKS.items():
        body = body.replace(name, mask)
    if vector := _numbers(recorded):
        # Other arithmetic, and of a long one only the beginning was kept.
        mine_too = _numbers(body)[: len(vector)]
        return [] if _cosine(mine_too, vector) > _SAME_VECTOR else [f"vector {mine_too[:3]} != {vector[:3]}"]
    if recorded.endswith(_CUT):
        mine, theirs = _VARYING.sub("…", body), _VARYING.sub("…", recorded[:-1])
        return [] if mine.startswith(theirs) else [f"{mine[: len(theirs)]!r} != {theirs!r}"]
    if not content_type and recorded and not body.startswith(recorded[:1]):
        # Only its end was kept.
        return [] if body.endswith(recorded) else [f"end {body[-len(recorded) :]!r} != {recorded!r}"]
    kind = "application/json" if content_type == "J" else content_type
    try:
        left, right = comparable(body, kind), comparable(recorded, kind)
    except ValueError:
        left, right = body, recorded
    return [] if left == right else [f"{str(left)[:600]} != {str(right)[:600]}"]
