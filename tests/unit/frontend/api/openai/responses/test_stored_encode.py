"""Encoders of responses that run in the background."""

from __future__ import annotations

import json

from drover.errors import EngineFailed
from frontend.api.openai.responses.background import BackgroundRun
from frontend.api.openai.responses.output import OutputItems
from frontend.api.openai.responses.stored_encode import BackgroundEncoder
from frontend.middleware.held_bodies import HeldBodies, HeldBody
from frontend.models.stored_responses import StoredResponse
from tests.support.sse import events_of
from tests.unit.frontend.api.events import content, done, started


def _run() -> BackgroundRun:
    row = StoredResponse("resp_1", "key 1", "queued", b"{}", b"[]")
    encoder = BackgroundEncoder({"model": "m"}, OutputItems({}))
    held = HeldBody(HeldBodies(1000, lambda address: False), "127.0.0.1")
    return BackgroundRun(row, encoder, streamed=False, max_bytes=1000, held=held)


def test_reading_a_response_that_is_about_to_end_does_not_change_its_end() -> None:
    run = _run()
    run.encoder.lines(started(1))
    run.encoder.lines(content("Hello"))
    run.encoder.lines(done(prompt_tokens=3, completion_tokens=2))

    # Its task is waiting for the engine's connection to end.
    assert json.loads(run.document)["status"] == "queued"
    run.end()

    assert run.encoder.status == "completed"
    assert json.loads(run.document)["status"] == "completed"


def test_a_cancelled_response_has_its_usage() -> None:
    encoder = _run().encoder
    encoder.beginning()
    encoder.lines(started(1, 2, 3))
    encoder.lines(content("Hello", 7, 8))
    usage = encoder.snapshot_of_cancelled()["usage"]
    assert isinstance(usage, dict)
    assert (usage["input_tokens"], usage["output_tokens"]) == (3, 2)

    ((_, last),) = events_of(encoder.cancelled().decode())

    assert last["response"]["usage"] == usage
    assert encoder.status == "cancelled"


def test_events_of_the_beginning_are_no_tokens() -> None:
    encoder = _run().encoder
    encoder.beginning()

    ((_, last),) = events_of(encoder.error_line(EngineFailed("it broke")).decode())

    assert last["response"]["usage"]["output_tokens"] == 0
