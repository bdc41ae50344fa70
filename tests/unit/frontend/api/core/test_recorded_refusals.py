"""Every recorded error that depends on the body alone, verbatim."""

from __future__ import annotations

import pytest

from drover.errors import InvalidRequest
from frontend.api.core.embedding import EmbeddingsRequest, EmbedRequest
from frontend.api.core.go_json import loads
from frontend.api.core.request import ChatRequest, GenerateRequest, ShowRequest
from tests.fakes.transcripts import Exchange, on

_READERS = {
    "/api/chat": ChatRequest.read,
    "/api/generate": GenerateRequest.read,
    "/api/show": ShowRequest.read,
    "/api/embed": EmbedRequest.read,
    "/api/embeddings": EmbeddingsRequest.read,
}
_EXCHANGES = [exchange for path in _READERS for exchange in on(path)]

# What only the model, the engine or the route can refuse; the body is well-formed.
_LATER = (
    "model is required",
    "invalid model name",
    "top_logprobs must be",
    "raw mode does not support",
    '{"error":',
)


def _decided_by_the_body(exchange: Exchange) -> bool:
    if exchange.status != 400:
        return False
    error = exchange.error()
    return not error.startswith(_LATER) and "does not support" not in error


_REFUSED = [exchange for exchange in _EXCHANGES if _decided_by_the_body(exchange)]
_READ = [exchange for exchange in _EXCHANGES if not _decided_by_the_body(exchange)]


def test_the_recordings_have_every_kind_of_refusal() -> None:
    assert len(_REFUSED) >= 25
    assert {exchange.path for exchange in _REFUSED} == set(_READERS)


@pytest.mark.parametrize("exchange", _REFUSED, ids=str)
def test_a_recorded_refusal(exchange: Exchange) -> None:
    with pytest.raises(InvalidRequest) as refused:
        _READERS[exchange.path](loads(exchange.body))

    assert refused.value.message == exchange.error()


@pytest.mark.parametrize("exchange", _READ, ids=str)
def test_a_recorded_request_that_was_accepted(exchange: Exchange) -> None:
    _READERS[exchange.path](loads(exchange.body))
