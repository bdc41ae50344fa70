"""Our answers to the recorded requests, from a real model, are those that the OpenAPI document tells of."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from frontend.openapi.document import build
from tests.contract.conftest import Answer
from tests.contract.openapi_conformance import closed, documented, faults_of_answer
from tests.contract.recorded import Recorded, replayed

DOCUMENT = closed(build("0.40.12"))


@pytest.mark.parametrize("recorded", replayed(), ids=str)
def test_the_answer_is_as_documented(recorded: Recorded, answers: Mapping[int, Answer]) -> None:
    answer = answers[recorded.number]
    expected = documented(DOCUMENT, recorded.method, recorded.path)
    if expected is None:
        assert answer.status in (204, 301, 307, 403, 404, 405)
        return
    assert list(faults_of_answer(DOCUMENT, expected, answer.status, answer.headers, answer.text)) == []
