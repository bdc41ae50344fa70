"""Responses that run in the background: polled, cancelled, read again, bounded."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator

import pytest

from drover.errors import EngineFailed, StoreUnavailable
from frontend.models.running_responses import Progress, RunningResponses
from tests.fakes.stalling_worker import STALL, Forever, StallingWorker, content, done, started
from tests.support.sse import events_of
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start
from tests.unit.frontend.api.stored_responses import ANSWER, BODY, created, got, until_status


@pytest.fixture
async def storing(start: Start) -> AsyncIterator[Frontend]:
    async with start(
        StallingWorker(steps=ANSWER), store_responses=True, shutdown_grace_seconds=0
    ) as frontend:
        yield frontend


async def test_a_background_response_is_polled(storing: Frontend) -> None:
    sent = await created(storing, background=True)
    assert (sent["status"], sent["background"], sent["output"]) == ("queued", True, [])

    ended = await until_status(storing, sent["id"], "completed")

    assert ended["output"][0]["content"][0]["text"] == "1 2"
    assert ended["usage"]["output_tokens"] == 1
    again = await storing.client.post(f"/v1/responses/{sent['id']}/cancel")
    assert again.json()["status"] == "completed"
    follow = await created(storing, input="Go on.", previous_response_id=sent["id"])
    assert follow["status"] == "completed"


async def test_a_virtual_model_answers_in_the_background(start: Start) -> None:
    routers = json.dumps({"auto": {"simple": "m", "complex": "m", "judge": "m"}})
    worker = StallingWorker(steps=ANSWER)
    async with start(worker, smart_routers=routers, store_responses=True) as frontend:
        sent = await created(frontend, model="auto:simple", background=True)
        ended = await until_status(frontend, sent["id"], "completed")
        assert (ended["routed_model"], ended["route_reason"]) == ("m:latest", "forced")
        follow = await created(frontend, model="auto:simple", input="On.", previous_response_id=sent["id"])
        assert follow["routed_model"] == "m:latest"
        compacted = await frontend.client.post("/v1/responses/compact", json={**BODY, "model": "auto:simple"})
        assert compacted.json()["routed_model"] == "m:latest"


async def test_background_responses_are_logged_and_counted(
    storing: Frontend, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "drover.request")
    sent = await created(storing, background=True)
    await until_status(storing, sent["id"], "completed")
    storing.worker.steps = [started(), STALL]
    cancelled = await created(storing, background=True)
    await storing.handle()
    await storing.client.post(f"/v1/responses/{cancelled['id']}/cancel")

    async def counted() -> bool:
        metrics = (await storing.client.get("/metrics")).text
        return 'drover_frontend_aborts_total{cause="cancelled"} 1.0' in metrics

    await until(counted, DEADLINE_SECONDS, "the cancelled one is counted")
    metrics = (await storing.client.get("/metrics")).text
    assert 'drover_frontend_requests_total{model="m:latest",route="background",status="200"} 2.0' in metrics
    lines = [line for record in caplog.records if (line := vars(record).get("fields", {})).get("response")]
    assert [line["response"] for line in lines] == [sent["id"], cancelled["id"]]


async def test_the_end_is_written_when_the_database_is_back(
    storing: Frontend, monkeypatch: pytest.MonkeyPatch
) -> None:
    end, tries = RunningResponses.end, []

    async def away_at_first(self: RunningResponses, progress: Progress, document: bytes) -> bool:
        tries.append(progress.status)
        if len(tries) < 3:
            raise StoreUnavailable("it is away")
        return await end(self, progress, document)

    monkeypatch.setattr(RunningResponses, "end", away_at_first)
    sent = await created(storing, background=True)

    # Its own frontend knows the end meanwhile.
    await until_status(storing, sent["id"], "completed")
    cancelled = await storing.client.post(f"/v1/responses/{sent['id']}/cancel")
    assert cancelled.json()["status"] == "completed"
    await until(lambda: len(tries) == 3, DEADLINE_SECONDS, "the end is written")
    assert tries == ["completed"] * 3
    ended = await got(storing, sent["id"])
    assert (ended["status"], ended["usage"]["output_tokens"]) == ("completed", 1)


async def test_a_background_response_that_fails_says_why(storing: Frontend) -> None:
    storing.worker.steps = [started(), EngineFailed("it broke")]

    sent = await created(storing, background=True)

    failed = await until_status(storing, sent["id"], "failed")
    assert "it broke" in failed["error"]["message"]


async def test_a_background_response_is_cancelled(storing: Frontend) -> None:
    storing.worker.steps = [started(), content("1"), STALL]
    sent = await created(storing, background=True)
    handle = await storing.handle()
    await until_status(storing, sent["id"], "in_progress")
    answer = await storing.client.post("/v1/responses", json={**BODY, "previous_response_id": sent["id"]})
    assert (answer.status_code, "is still" in answer.json()["error"]["message"]) == (400, True)

    answer = await storing.client.post(f"/v1/responses/{sent['id']}/cancel")

    assert answer.json()["status"] == "cancelled"
    assert answer.json()["output"][0]["content"][0]["text"] == "1"
    await asyncio.wait_for(handle.cancelled.wait(), DEADLINE_SECONDS)
    assert await got(storing, sent["id"]) == answer.json()
    assert (await storing.client.post(f"/v1/responses/{sent['id']}/cancel")).json() == answer.json()


async def test_only_background_responses_can_be_cancelled(storing: Frontend) -> None:
    sent = await created(storing)

    answer = await storing.client.post(f"/v1/responses/{sent['id']}/cancel")

    assert answer.status_code == 400
    assert "cannot be cancelled" in answer.json()["error"]["message"]


async def test_deleting_a_running_response_frees_its_slot(storing: Frontend) -> None:
    storing.worker.steps = [started(), STALL]
    sent = await created(storing, background=True)
    handle = await storing.handle()

    await storing.client.delete(f"/v1/responses/{sent['id']}")

    await asyncio.wait_for(handle.cancelled.wait(), DEADLINE_SECONDS)
    await got(storing, sent["id"], 404)


async def test_the_events_of_a_background_response_can_be_read_again(storing: Frontend) -> None:
    body = {**BODY, "background": True, "stream": True}
    events = events_of((await storing.client.post("/v1/responses", json=body)).text)
    response = events[-1][1]["response"]
    assert (events[-1][0], response["status"]) == ("response.completed", "completed")
    assert [data["sequence_number"] for _, data in events] == list(range(len(events)))

    async def read(**query: object) -> str:
        return (await storing.client.get(f"/v1/responses/{response['id']}", params=query)).text  # type: ignore[arg-type]  # values of several types

    assert events_of(await read(stream="true")) == events
    assert events_of(await read(stream="true", starting_after=3)) == events[4:]
    assert await read(stream="true", starting_after=len(events)) == ""
    assert await got(storing, response["id"]) == response


async def test_a_client_that_leaves_can_come_back(storing: Frontend) -> None:
    storing.worker.steps = [started(), content("1"), STALL]
    body = {**BODY, "background": True, "stream": True}
    async with storing.client.stream("POST", "/v1/responses", json=body) as answer:
        chunk = await anext(answer.aiter_text())
    response_id = events_of(chunk)[0][1]["response"]["id"]
    handle = await storing.handle()
    await until_status(storing, response_id, "in_progress")
    assert not handle.cancelled.is_set()

    query = {"stream": "true", "starting_after": "1"}
    async with storing.client.stream("GET", f"/v1/responses/{response_id}", params=query) as answer:
        await storing.client.post(f"/v1/responses/{response_id}/cancel")
        events = events_of("".join([text async for text in answer.aiter_text()]))
    assert events[0][1]["sequence_number"] == 2
    assert events[-1][1]["response"]["status"] == "cancelled"


@pytest.mark.parametrize("stream", [False, True])
async def test_what_has_no_effect_is_named_in_a_header(storing: Frontend, stream: bool) -> None:
    body = {**BODY, "background": True, "stream": stream, "tools": [{"type": "web_search"}]}

    answer = await storing.client.post("/v1/responses", json=body)

    assert answer.headers["x-drover-not-honoured"] == "tools.web_search"


async def test_a_stream_has_heartbeats_while_no_event_comes(start: Start) -> None:
    body = {**BODY, "background": True, "stream": True}
    settings = {"store_responses": True, "shutdown_grace_seconds": 0, "heartbeat_seconds": 0.05}
    async with start(StallingWorker(), **settings) as frontend:
        seen = ""
        async with frontend.client.stream("POST", "/v1/responses", json=body) as answer:
            async for text in answer.aiter_text():
                seen += text
                if seen.endswith(":\n\n" * 2):
                    break
    assert "response.in_progress" in seen


async def test_other_responses_have_no_events(storing: Frontend) -> None:
    for more in ({}, {"background": True}):
        sent = await created(storing, **more)
        error = await got(storing, sent["id"], 400, stream="true")
        assert "cannot be streamed" in error["error"]["message"]


async def test_background_responses_have_a_limit(start: Start) -> None:
    worker = StallingWorker(steps=[started(), STALL])
    settings = {"store_responses": True, "max_background_responses": 1, "shutdown_grace_seconds": 0}
    async with start(worker, **settings) as frontend:
        sent = await created(frontend, background=True)
        answer = await frontend.client.post("/v1/responses", json={**BODY, "background": True})
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")

        await frontend.client.post(f"/v1/responses/{sent['id']}/cancel")

        async def has_room() -> bool:
            return (await frontend.client.post("/v1/responses", json={**BODY, "background": True})).is_success

        await until(has_room, DEADLINE_SECONDS, "a new one is taken")


async def test_only_what_is_stored_counts_towards_the_limit(start: Start) -> None:
    worker = StallingWorker(steps=[started(), *[content("word ")] * 200, done()])
    async with start(worker, store_responses=True, max_stored_response_bytes=5000) as frontend:
        sent = await created(frontend, background=True)
        ended = await until_status(frontend, sent["id"], "completed")
        assert ended["output"][0]["content"][0]["text"] == "word " * 200
        body = {**BODY, "background": True, "stream": True}
        streamed = await frontend.client.post("/v1/responses", json=body)
        assert events_of(streamed.text)[-1][0] == "response.failed"


async def test_one_key_does_not_take_all_places(start: Start) -> None:
    worker = StallingWorker(steps=[started(), STALL])
    settings = {"store_responses": True, "max_background_responses": 2, "shutdown_grace_seconds": 0}
    async with start(worker, **settings) as frontend:

        async def status(key: str) -> int:
            headers = {"authorization": f"Bearer {key}"}
            body = {**BODY, "background": True}
            return (await frontend.client.post("/v1/responses", json=body, headers=headers)).status_code

        assert [await status(key) for key in ("one", "one", "two", "three")] == [200, 503, 200, 503]


async def test_the_input_of_a_background_response_counts_until_its_end(storing: Frontend) -> None:
    async def held() -> int:
        metrics = (await storing.client.get("/metrics")).text
        (value,) = re.findall(r"^drover_frontend_body_bytes (\S+)$", metrics, re.MULTILINE)
        return round(float(value))

    storing.worker.steps = [started(), STALL]
    sent = await created(storing, background=True, input="x" * 200_000)
    assert await held() > 100_000

    await storing.client.post(f"/v1/responses/{sent['id']}/cancel")

    async def is_released() -> bool:
        return await held() == 0

    await until(is_released, DEADLINE_SECONDS, "the input is no longer counted")


async def test_a_background_response_that_never_ends_is_ended(start: Start) -> None:
    worker = StallingWorker(steps=[started(), Forever(content("x" * 100))])
    settings = {"store_responses": True, "max_stored_response_bytes": 5000}
    async with start(worker, **settings) as frontend:
        sent = await created(frontend, background=True)
        failed = await until_status(frontend, sent["id"], "failed")
        assert "longer than 5000 bytes" in failed["error"]["message"]
        assert (await frontend.handle()).cancelled.is_set()
