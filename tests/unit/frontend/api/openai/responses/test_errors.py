"""Statuses of /v1/responses, by what Codex 0.171 does on them."""

from __future__ import annotations

import json

import pytest

from drover.errors import (
    BodyTooLarge,
    CapabilityMissing,
    ClientLeft,
    ContextExceeded,
    DeadlineExceeded,
    DroverError,
    EngineFailed,
    EngineStalled,
    InternalError,
    InvalidOption,
    ModelNotFound,
    NotAuthenticated,
    NotOffered,
    NotPermitted,
    NoWorkerReady,
    QueueFull,
    RateLimited,
    WorkerUnreachable,
)
from frontend.api.openai.responses.errors import STATUSES, failure
from tests.fakes.stalling_worker import StallingWorker
from tests.unit.frontend.api.conftest import Frontend, Start

_HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidOption("no number"), 400, None),
        (BodyTooLarge("too large"), 400, None),
        (CapabilityMissing("no tools"), 400, None),
        (EngineStalled("it stalled"), 400, None),
        (NotOffered("not here"), 400, None),
        (DeadlineExceeded("too slow"), 400, None),
        (InternalError("a defect"), 400, None),
        (ContextExceeded("too long", 10, 5), 400, "context_length_exceeded"),
        (ModelNotFound("model 'x' not found"), 404, "model_not_found"),
        (EngineFailed("it broke"), 503, None),
        (WorkerUnreachable("lost"), 503, None),
        (QueueFull("full"), 503, None),
        (NoWorkerReady("none"), 503, None),
    ],
)
def test_only_what_another_try_may_cure_gets_a_status_that_is_tried_again(
    error: DroverError, status: int, code: str | None
) -> None:
    response = failure(error)

    assert response.status_code == STATUSES[type(error)] == status
    assert json.loads(bytes(response.body))["error"]["code"] == code
    assert ("retry-after" in response.headers) == (status == 503)


def test_no_error_has_a_status_whose_message_codex_does_not_show() -> None:
    """But those about keys, which clients know by their statuses."""
    about_keys = {NotAuthenticated: 401, NotPermitted: 403, RateLimited: 429}
    others = {kind: status for kind, status in STATUSES.items() if kind not in {*about_keys, ClientLeft}}
    assert set(others.values()) == {400, 404, 503}
    assert {**STATUSES, **about_keys} == STATUSES


async def test_a_body_that_is_too_large_is_tried_once(start: Start) -> None:
    async with start(StallingWorker(), max_body_bytes=100) as frontend:
        answer = await frontend.client.post("/v1/responses", json={"model": "m", "input": "x" * 200})
        other = await frontend.client.post("/v1/chat/completions", json={"model": "m", "x": "x" * 200})

    assert (answer.status_code, other.status_code) == (400, 413)


async def test_a_websocket_handshake_is_sent_to_post(frontend: Frontend) -> None:
    """Codex makes one handshake on a 426, seven on other statuses."""
    answer = await frontend.client.get("/v1/responses", headers=_HANDSHAKE)

    assert answer.status_code == 426
    assert answer.headers["upgrade"] == "HTTP/1.1"


async def test_other_gets_are_not_allowed(frontend: Frontend) -> None:
    plain = await frontend.client.get("/v1/responses")
    elsewhere = await frontend.client.get("/v1/chat/completions", headers=_HANDSHAKE)

    assert (plain.status_code, plain.headers["allow"]) == (405, "POST")
    assert elsewhere.status_code == 405
