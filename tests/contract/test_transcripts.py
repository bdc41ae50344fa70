"""Every recorded exchange but Responses' and Messages', replayed in order by one process of xdist.

The answers are compared with the recorded ones, and with what the OpenAPI document says of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from frontend.openapi.document import build
from tests.contract.comparison import comparable
from tests.contract.conftest import Answer
from tests.contract.differences import BODY, SAMPLED, STATUS
from tests.contract.openapi_conformance import closed, documented, faults_of_answer
from tests.contract.recorded import Recorded, replayed

_DOCUMENT = closed(build("0.40.12"))
# Others are of the connection, or of the server's own making.
_DRAWN = ("message", "done_reason", "eval_count", "choices", "usage")
_HEADERS = (
    "content-type",
    "location",
    "vary",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-max-age",
)


@pytest.mark.parametrize("recorded", replayed(), ids=str)
def test_the_answer_is_ollamas(recorded: Recorded, answers: Mapping[int, Answer]) -> None:
    answer = answers[recorded.number]

    if recorded.case in STATUS:
        assert answer.status != recorded.status, f"{recorded.case} does not differ any more"
        return
    assert (answer.status, answer.text[:300] if answer.status != recorded.status else "") == (
        recorded.status,
        "",
    )
    for name in _HEADERS:
        assert _header(answer.headers, name) == _header(recorded.answer_headers, name), name
    if recorded.status >= 400:
        assert answer.text[-1:] == recorded.answer[-1:]
    ours, theirs = _body(answer.text, recorded), _body(recorded.answer, recorded)
    if recorded.case in SAMPLED:
        ours, theirs = _without_the_text(ours), _without_the_text(theirs)
    if recorded.case in BODY:
        assert ours != theirs, f"{recorded.case} does not differ any more"
    else:
        assert ours == theirs


@pytest.mark.parametrize("recorded", replayed(), ids=str)
def test_the_answer_is_as_documented(recorded: Recorded, answers: Mapping[int, Answer]) -> None:
    answer = answers[recorded.number]
    expected = documented(_DOCUMENT, recorded.method, recorded.path)
    if expected is None:
        assert answer.status in (204, 301, 307, 403, 404, 405)
        return
    assert list(faults_of_answer(_DOCUMENT, expected, answer.status, answer.headers, answer.text)) == []


def _header(headers: Mapping[str, str], name: str) -> str | None:
    """JSON has no charset, and on /v1 upstream names one only where its outer layer answers by itself."""
    value = headers.get(name)
    return "application/json" if value == "application/json; charset=utf-8" else value


def _body(text: str, recorded: Recorded) -> object:
    return comparable(text, recorded.answer_headers.get("content-type", ""))


def _without_the_text(body: object) -> object:
    assert isinstance(body, list)
    return [pair for pair in body if pair[0] not in _DRAWN]


def test_the_list_of_differences_names_recorded_cases() -> None:
    recorded = {each.case for each in replayed()}
    assert {*STATUS, *BODY, *SAMPLED} <= recorded
