"""Every recorded exchange of /v1/messages and /v1/responses, replayed and compared: with the real model, and
with a simulator that plays what the recorded engine said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from frontend.openapi.document import build
from tests.contract.envelopes import comparable_envelope
from tests.contract.openapi_conformance import closed, documented, faults_of_answer
from tests.contract.recorded import Recorded, below
from tests.contract.scripted_fleet import BROKEN, body_of, scripted, scripted_stack
from tests.fakes.transcripts import Exchange, scripted_case
from tests.support.processes import Stack
from tests.support.sse import events_of

DOCUMENT = closed(build("0.40.12"))
PATHS = ("/v1/messages", "/v1/responses")
SCRIPTED = [exchange for path in PATHS for exchange in scripted(path)]
_CUT = "a response that is cut at its length is incomplete, and says why"
_TEXT_NEXT_TO_A_CALL = "upstream loses the text next to a call"
_DIED = "upstream ends without a word when its engine is gone; ours says so"
# Cases that are answered otherwise on purpose, and why.
STATUS = {
    "v1 count_tokens": "upstream has no such route",
    "messages #die whole": _DIED,
    "responses #die whole": _DIED,
}
BODY = {
    "v1 responses missing": "a missing model has OpenAI's code for it, at which Codex does not ask again",
    "v1 responses stream": _CUT,
    "v1 responses items": _CUT,
    "responses #texttool stream tools": _TEXT_NEXT_TO_A_CALL,
    "responses #texttool whole tools": _TEXT_NEXT_TO_A_CALL,
    "messages #die stream": _DIED,
    "responses #die stream": _DIED,
}


@pytest.fixture(scope="module")
def http(server: Stack) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        scripted_stack(Path(tmp_path_factory.mktemp("scripted")), SCRIPTED) as stack,
        httpx.Client(base_url=stack.url, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize("recorded", below(*PATHS), ids=str)
def test_with_the_real_model(recorded: Recorded, http: httpx.Client) -> None:
    answer = http.request(recorded.method, recorded.path, content=recorded.body)
    media = answer.headers["content-type"].partition(";")[0]
    _assert_documented(answer)
    theirs = recorded.answer_headers["content-type"].partition(";")[0]
    if recorded.case in STATUS:
        assert answer.status_code != recorded.status, f"{recorded.case} does not differ any more"
        return
    assert (answer.status_code, media) == (recorded.status, theirs)
    _compare(
        recorded.case,
        comparable_envelope(answer.text, media, same_tokens=True),
        comparable_envelope(recorded.answer, theirs, same_tokens=True),
    )


@pytest.mark.parametrize("exchange", SCRIPTED, ids=str)
def test_with_a_scripted_engine(exchange: Exchange, player: httpx.Client) -> None:
    answer = player.post(exchange.path, content=body_of(exchange))
    media = answer.headers["content-type"].partition(";")[0]
    _assert_documented(answer)
    if exchange.case in STATUS:
        assert answer.status_code != exchange.status, f"{exchange.case} does not differ any more"
        return
    assert (answer.status_code, media) == (exchange.status, exchange.content_type)
    _compare(
        exchange.case,
        comparable_envelope(answer.text, media, same_tokens=False),
        comparable_envelope(exchange.answer, media, same_tokens=False),
    )


@pytest.mark.parametrize("path", PATHS)
def test_a_stream_whose_engine_is_gone_says_so(path: str, player: httpx.Client) -> None:
    exchange = scripted_case(f"{path.removeprefix('/v1/')} #die stream")
    answer = player.post(path, content=body_of(exchange))

    events = events_of(answer.text)

    assert (
        "".join(data["delta"]["text"] for name, data in events if name == "content_block_delta")
        + "".join(data["delta"] for name, data in events if name == "response.output_text.delta")
        == "Hello wor"
    )
    if path == "/v1/messages":
        assert events[-1][1]["error"] == {"type": "overloaded_error", "message": BROKEN}
    else:
        assert events[-1][0] == "response.failed"
        assert events[-1][1]["response"]["error"] == {
            "code": "server_error",
            "message": f"service unavailable: {BROKEN}",
        }


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("path", PATHS)
def test_text_next_to_a_call_is_there(path: str, streamed: bool, player: httpx.Client) -> None:
    kind = "stream" if streamed else "whole"
    exchange = scripted_case(f"{path.removeprefix('/v1/')} #texttool {kind} tools")
    answer = player.post(path, content=body_of(exchange))

    chat_message = "".join(re.findall(r'"(?:text|delta)":"([^"]*)"', answer.text))
    assert "I will look." in chat_message
    assert "get_weather" in answer.text


def test_the_list_of_differences_names_replayed_cases() -> None:
    replayed = {each.case for each in below(*PATHS)} | {each.case for each in SCRIPTED}
    assert set(STATUS) | set(BODY) <= replayed
    assert len(SCRIPTED) > 80


def _assert_documented(answer: httpx.Response) -> None:
    expected = documented(DOCUMENT, "POST", answer.request.url.path)
    assert expected is not None
    assert list(faults_of_answer(DOCUMENT, expected, answer.status_code, answer.headers, answer.text)) == []


def _compare(case: str, ours: object, theirs: object) -> None:
    if case in BODY:
        assert ours != theirs, f"{case} does not differ any more"
    else:
        assert ours == theirs
