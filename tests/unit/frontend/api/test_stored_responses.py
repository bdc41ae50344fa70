"""Stored and background responses over a scripted worker and a database in a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.fakes.stalling_worker import StallingWorker
from tests.support.sse import events_of
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.stored_responses import ANSWER, BODY, created, got


@pytest.fixture
async def storing(start: Start) -> AsyncIterator[Frontend]:
    async with start(
        StallingWorker(steps=ANSWER), store_responses=True, shutdown_grace_seconds=0
    ) as frontend:
        yield frontend


def _texts(frontend: Frontend) -> list[tuple[str, str]]:
    messages = frontend.worker.handles[-1].request.chat.messages
    return [(message.role, message.content) for message in messages]


async def test_a_response_is_stored_as_it_was_sent(storing: Frontend) -> None:
    sent = await created(storing, metadata={"a": "b"})

    assert sent["store"] is True
    assert await got(storing, sent["id"]) == sent


async def test_a_streamed_response_is_stored_as_its_last_event_has_it(storing: Frontend) -> None:
    answer = await storing.client.post("/v1/responses", json={**BODY, "stream": True})

    _, last = events_of(answer.text)[-1]
    assert await got(storing, last["response"]["id"]) == last["response"]


async def test_store_false_stores_nothing(storing: Frontend) -> None:
    sent = await created(storing, store=False)

    assert sent["store"] is False
    error = await got(storing, sent["id"], 404)
    assert error["error"]["message"] == f"Response with id '{sent['id']}' not found."


async def test_other_keys_do_not_find_it(storing: Frontend) -> None:
    sent = await created(storing)
    storing.client.headers["authorization"] = "Bearer other"

    await got(storing, sent["id"], 404)
    assert (await storing.client.delete(f"/v1/responses/{sent['id']}")).status_code == 404
    assert (await storing.client.post(f"/v1/responses/{sent['id']}/cancel")).status_code == 404
    await got(storing, f"{sent['id']}/input_items", 404)
    answer = await storing.client.post("/v1/responses", json={**BODY, "previous_response_id": sent["id"]})
    assert answer.status_code == 400


async def test_a_conversation_continues(storing: Frontend) -> None:
    first = await created(storing, instructions="Be brief.")
    second = await created(storing, input="Go on.", previous_response_id=first["id"])
    third = await created(storing, input="And on.", previous_response_id=second["id"])

    assert third["previous_response_id"] == second["id"]
    # Instructions are those of the last request only.
    assert _texts(storing) == [
        ("user", "Count to seven."),
        ("assistant", "1 2"),
        ("user", "Go on."),
        ("assistant", "1 2"),
        ("user", "And on."),
    ]


async def test_the_input_items_are_all_that_the_model_got(storing: Frontend) -> None:
    first = await created(storing)
    second = await created(
        storing, input=[{"role": "user", "content": "On."}], previous_response_id=first["id"]
    )

    items = (await got(storing, f"{second['id']}/input_items", order="asc"))["data"]
    assert [item["content"][0]["text"] for item in items] == ["Count to seven.", "1 2", "On."]
    assert [item["type"] for item in items] == ["message"] * 3
    page = await got(storing, f"{second['id']}/input_items", limit=2)
    assert [item["id"] for item in page["data"]] == [items[2]["id"], items[1]["id"]]
    assert (page["has_more"], page["last_id"]) == (True, items[1]["id"])
    rest = await got(storing, f"{second['id']}/input_items", limit=2, after=page["last_id"])
    assert [item["id"] for item in rest["data"]] == [items[0]["id"]]
    assert rest["has_more"] is False


async def test_the_limit_is_of_bytes_as_they_were_sent(start: Start) -> None:
    worker = StallingWorker(steps=ANSWER)
    async with start(worker, store_responses=True, max_stored_response_bytes=5000) as frontend:
        sent = await created(frontend, input="<" * 3000)
        (item,) = (await got(frontend, f"{sent['id']}/input_items"))["data"]
    assert item["content"][0]["text"] == "<" * 3000


async def test_pages_end_where_an_item_was_sent_twice(storing: Frontend) -> None:
    item = {"type": "message", "id": "msg_1", "role": "user", "content": "On."}
    sent = await created(storing, input=[item, {**item, "id": "msg_2"}, item])

    page = await got(storing, f"{sent['id']}/input_items", order="asc", limit=3)
    assert [each["id"] for each in page["data"]] == ["msg_1", "msg_2", "msg_1"]
    rest = await got(storing, f"{sent['id']}/input_items", order="asc", limit=3, after=page["last_id"])
    assert rest["data"] == []


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 101}, {"limit": "x"}, {"order": "up"}, {"after": "no"}]
)
async def test_a_wrong_page_is_refused(storing: Frontend, query: dict[str, object]) -> None:
    sent = await created(storing)

    await got(storing, f"{sent['id']}/input_items", 400, **query)


async def test_references_to_stored_items_are_followed(storing: Frontend) -> None:
    first = await created(storing)
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}

    await created(storing, input=[reference, {"role": "user", "content": "Go on."}])

    assert _texts(storing) == [("assistant", "1 2"), ("user", "Go on.")]
    missing = {"type": "item_reference", "id": "msg_0"}
    answer = await storing.client.post("/v1/responses", json={**BODY, "input": [missing]})
    assert answer.status_code == 400
    assert "Item with id 'msg_0' not found" in answer.json()["error"]["message"]


async def test_a_deleted_response_is_gone(storing: Frontend) -> None:
    first = await created(storing)
    second = await created(storing, previous_response_id=first["id"])

    answer = await storing.client.delete(f"/v1/responses/{first['id']}")

    assert answer.json() == {"id": first["id"], "object": "response", "deleted": True}
    await got(storing, first["id"], 404)
    assert (await storing.client.delete(f"/v1/responses/{first['id']}")).status_code == 404
    for previous, words in ((first["id"], "not found"), (second["id"], "cannot be continued")):
        answer = await storing.client.post("/v1/responses", json={**BODY, "previous_response_id": previous})
        assert answer.status_code == 400
        assert words in answer.json()["error"]["message"]


async def test_tokens_and_compactions_of_stored_conversations(storing: Frontend) -> None:
    first = await created(storing)
    body = {**BODY, "input": "Go on.", "previous_response_id": first["id"]}

    assert (await storing.client.post("/v1/responses/input_tokens", json=body)).status_code == 200
    compacted = (await storing.client.post("/v1/responses/compact", json=body)).json()

    kept = [item["content"][0]["text"] for item in compacted["output"] if item["type"] == "message"]
    assert kept == ["Count to seven.", "Go on."]
    assert _texts(storing)[:3] == [("user", "Count to seven."), ("assistant", "1 2"), ("user", "Go on.")]


async def test_what_is_too_long_is_answered_and_not_stored(start: Start) -> None:
    async with start(
        StallingWorker(steps=ANSWER), store_responses=True, max_stored_response_bytes=400
    ) as small:
        answer = await small.client.post("/v1/responses", json={**BODY, "input": "x" * 500})
        assert (answer.json()["store"], answer.headers["x-drover-not-honoured"]) == (False, "store")
        answer = await small.client.post(
            "/v1/responses", json={**BODY, "input": "x" * 500, "background": True}
        )
        assert answer.status_code == 400
        short = await created(small)
        await got(small, short["id"], 404)


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/compact"])
async def test_deeply_nested_items_are_no_internal_error(storing: Frontend, path: str) -> None:
    statuses = []
    for depth in (100, 240, 250, 260, 900):
        nested = "[" * depth + "]" * depth
        body = f'{{"model": "m", "input": [{{"role": "user", "content": "hi", "more": {nested}}}]}}'
        answer = await storing.client.post(path, content=body)
        statuses.append(answer.status_code)
        if answer.is_success and path == "/v1/responses":
            await got(storing, f"{answer.json()['id']}/input_items")
    assert statuses == sorted(statuses)
    assert (statuses[0], statuses[-1]) == (200, 400)


async def test_a_triggered_compaction_does_not_run_in_the_background(storing: Frontend) -> None:
    items = [{"role": "user", "content": "hi"}, {"type": "compaction_trigger"}]
    body = {**BODY, "input": items, "stream": True, "background": True}

    answer = await storing.client.post("/v1/responses", json=body)

    assert answer.status_code == 400
    assert "background" in answer.json()["error"]["message"]


async def test_an_answer_does_not_wait_for_a_database_that_is_away(start: Start) -> None:
    url = "postgresql://drover@127.0.0.1:1/none"
    async with start(StallingWorker(steps=ANSWER), store_responses=True, database_url=url) as frontend:
        assert (await created(frontend))["status"] == "completed"
        answer = await frontend.client.post("/v1/responses", json={**BODY, "background": True})
        assert answer.status_code == 503
        await got(frontend, "resp_" + "0" * 24, 503)


@pytest.mark.parametrize(
    "more", [{"previous_response_id": "resp_1"}, {"background": True}, {"conversation": "conv_1"}]
)
async def test_without_a_store_what_needs_it_is_refused(frontend: Frontend, more: dict[str, object]) -> None:
    for path in ("/v1/responses", "/v1/responses/compact", "/v1/responses/input_tokens"):
        answer = await frontend.client.post(path, json={**BODY, **more})
        assert answer.status_code == 400
        assert "stored here" in answer.json()["error"]["message"]
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
        answer = await frontend.client.request(method, f"/v1/responses/resp_1{path}")
        assert answer.status_code == 400
        assert "--store-responses is off" in answer.json()["error"]["message"]
