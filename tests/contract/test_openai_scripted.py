"""The recorded chat completions of a scripted engine, and ours of a simulator that plays the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.contract.comparison import comparable
from tests.contract.scripted_fleet import BROKEN, body_of, scripted, scripted_stack
from tests.fakes.transcripts import Exchange, scripted_case

# Without thinking upstream's parser leaves the tags in the text; the simulator plays its script.
_NOT_PLAYED = ("#think effort none", "#thinktool effort none")
# An unknown effort is the model's default now (ollama-contract.md, "Changes since 0.33").
_UNKNOWN_EFFORT = " effort wrong"
SCRIPTED = [each for each in scripted("/v1/chat/completions") if not each.case.endswith(_NOT_PLAYED)]
# How many tokens a script has is another number here.
_COUNTED = ("usage", "logprobs")


@pytest.fixture(scope="module")
def player(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    with (
        scripted_stack(Path(tmp_path_factory.mktemp("scripted")), SCRIPTED) as stack,
        httpx.Client(base_url=stack.url, timeout=60) as client,
    ):
        yield client


@pytest.mark.parametrize("exchange", SCRIPTED, ids=str)
def test_the_answer_is_ollamas(exchange: Exchange, player: httpx.Client) -> None:
    answer = player.post(exchange.path, content=body_of(exchange))

    if "#die" in exchange.case:
        _check_broken(answer)
        return
    if exchange.case.endswith(_UNKNOWN_EFFORT):
        exchange = scripted_case(exchange.case.replace(_UNKNOWN_EFFORT, " whole"))
    assert answer.status_code == exchange.status
    assert _comparable(answer.text, exchange) == _comparable(exchange.answer, exchange)


def _check_broken(answer: httpx.Response) -> None:
    """Upstream passes what there was off as an answer when its engine is gone. Ours says so."""
    error = {"message": BROKEN, "type": "api_error", "param": None, "code": None}
    if answer.headers["content-type"] == "text/event-stream":
        *chunks, last = answer.text.removesuffix("\n\n").split("\n\n")
        assert chunks
        in_stream = {"message": f"service unavailable: {BROKEN}", "type": "server_error"}
        assert json.loads(last.removeprefix("data: ")) == {"error": error | in_stream}
    else:
        assert (answer.status_code, answer.json()) == (500, {"error": error})


def test_there_are_recordings() -> None:
    assert len(SCRIPTED) > 40


def _comparable(text: str, exchange: Exchange) -> object:
    return _uncounted(comparable(text, exchange.content_type))


def _uncounted(value: object) -> object:
    """`comparable` makes pairs of objects."""
    if isinstance(value, list):
        return [_uncounted(item) for item in value if not (isinstance(item, tuple) and item[0] in _COUNTED)]
    if isinstance(value, tuple):
        return (value[0], _uncounted(value[1]))
    return value
