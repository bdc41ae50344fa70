"""Compactions over a scripted worker: the trigger on /v1/responses, and /v1/responses/compact."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from drover.errors import EngineFailed, QueueFull
from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import STALL, Step, content, done, started
from tests.support.sse import events_of
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend

USER = {"role": "user", "content": "Count to seven."}
TRIGGERED = {"model": "m", "stream": True, "input": [USER, {"type": "compaction_trigger"}]}
COMPACT = {"model": "m", "input": [USER, {"role": "assistant", "content": "1 2 3"}]}
NO_TEXT = [started(), pb.GenerateEvent(deltas=[pb.Delta(thinking="hm")]), done()]
SUMMARY = [started(), content(" We counted"), content(" to 3. "), done()]


def _answer_in_turn(frontend: Frontend, *answers: Sequence[Step]) -> None:
    """The worker plays one after the other."""
    rest = list(answers)
    frontend.worker.steps = rest.pop(0)

    def next_one() -> None:
        frontend.worker.steps = rest.pop(0) if rest else [EngineFailed("not asked for")]

    frontend.worker.on_submit = next_one


def _payload(content_of_item: str) -> dict[str, object]:
    payload = json.loads(content_of_item)
    assert isinstance(payload, dict)
    return payload


async def test_a_trigger_is_answered_with_one_item(frontend: Frontend) -> None:
    frontend.worker.steps = SUMMARY

    answer = await frontend.client.post("/v1/responses", json=TRIGGERED)

    events = events_of(answer.text)
    assert [name.removeprefix("response.") for name, _ in events] == [
        "created", "in_progress", "output_item.added", "output_item.done", "completed",
    ]  # fmt: skip
    assert [data["sequence_number"] for _, data in events] == [0, 1, 2, 3, 4]
    item, response = events[3][1]["item"], events[4][1]["response"]
    assert item["type"] == "compaction"
    assert response["output"] == [item]
    assert {data["response"]["id"] for _, data in events if "response" in data} == {response["id"]}
    assert _payload(item["encrypted_content"]) == {
        "type": "ollama_compaction", "version": 1, "summary": "We counted to 3.", "retained": [],
    }  # fmt: skip
    assert response["usage"]["total_tokens"] == 2


async def test_the_item_is_read_in_the_next_request(frontend: Frontend) -> None:
    frontend.worker.steps = SUMMARY
    answer = await frontend.client.post("/v1/responses", json=TRIGGERED)
    item = events_of(answer.text)[3][1]["item"]
    frontend.worker.steps = [started(), content("4"), done()]

    await frontend.client.post("/v1/responses", json={"model": "m", "input": [USER, item]})

    texts = [message.content for message in frontend.worker.handles[-1].request.chat.messages]
    assert texts[0] == "Count to seven."
    assert texts[1].endswith("We counted to 3.")


async def test_compact_keeps_the_user_s_messages(frontend: Frontend) -> None:
    frontend.worker.steps = SUMMARY

    answer = await frontend.client.post("/v1/responses/compact", json=COMPACT)

    body = answer.json()
    assert (body["object"], body["usage"]["input_tokens"]) == ("response.compaction", 1)
    message, item = body["output"]
    assert message["content"] == [{"type": "input_text", "text": "Count to seven."}]
    assert item["type"] == "compaction"
    again = {"model": "m", "input": body["output"]}
    assert (await frontend.client.post("/v1/responses", json=again)).status_code == 200


async def test_an_answer_without_text_is_asked_for_again(frontend: Frontend) -> None:
    _answer_in_turn(frontend, NO_TEXT, SUMMARY)

    answer = await frontend.client.post("/v1/responses", json=TRIGGERED)

    events = events_of(answer.text)
    assert [name for name, _ in events][:2] == ["response.created", "response.in_progress"]
    response = events[-1][1]["response"]
    assert _payload(response["output"][0]["encrypted_content"])["summary"] == "We counted to 3."
    assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (2, 2)
    assert len(frontend.worker.handles) == 2


async def test_without_a_summary_the_last_messages_are_kept(frontend: Frontend) -> None:
    _answer_in_turn(frontend, NO_TEXT, NO_TEXT)

    answer = await frontend.client.post("/v1/responses/compact", json=COMPACT)

    payload = _payload(answer.json()["output"][-1]["encrypted_content"])
    assert payload["retained"] == [
        {"role": "user", "content": "Count to seven."},
        {"role": "assistant", "content": "1 2 3"},
    ]
    assert len(frontend.worker.handles) == 2


@pytest.mark.parametrize(("path", "body"), [("/v1/responses", TRIGGERED), ("/v1/responses/compact", COMPACT)])
@pytest.mark.parametrize(("error", "status"), [(EngineFailed("it broke"), 503), (QueueFull("full"), 503)])
async def test_an_error_before_the_first_output_has_a_status(
    frontend: Frontend, path: str, body: object, error: EngineFailed | QueueFull, status: int
) -> None:
    frontend.worker.steps = [started(), error]

    answer = await frontend.client.post(path, json=body)

    assert answer.status_code == status
    assert answer.json()["error"]["message"] == error.message


async def test_an_error_in_mid_stream_ends_it_as_failed(frontend: Frontend) -> None:
    frontend.worker.steps = [started(), content("We"), EngineFailed("it broke")]

    answer = await frontend.client.post("/v1/responses", json=TRIGGERED)

    name, data = events_of(answer.text)[-1]
    assert name == "response.failed"
    assert "it broke" in data["response"]["error"]["message"]
    usage = data["response"]["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (1, 0, 1)


async def test_a_client_that_leaves_frees_the_slot(frontend: Frontend) -> None:
    frontend.worker.steps = [started(), content("We"), STALL]

    async with frontend.client.stream("POST", "/v1/responses", json=TRIGGERED) as answer:
        await anext(answer.aiter_bytes())
        handle = await frontend.handle()
    await until(handle.cancelled.is_set, DEADLINE_SECONDS, "the request is cancelled")


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/v1/responses", {**TRIGGERED, "stream": False}, "compaction_trigger requires stream=true"),
        ("/v1/responses/compact", {"input": "x"}, "model is required"),
        ("/v1/responses/compact", {"model": "m"}, "input is required"),
        ("/v1/responses/compact", {"model": "m", "input": []}, "input is required"),
        ("/v1/responses/input_tokens", {"input": "x"}, "model is required"),
        ("/v1/responses/input_tokens", {"model": "m"}, "input is required"),
        (
            "/v1/responses",
            {"model": "m", "input": [{"type": "compaction", "encrypted_content": "gAAA"}]},
            "input[0]: unsupported compaction item: encrypted_content is not an Ollama payload",
        ),
    ],
)
async def test_what_is_wrong_is_refused(
    frontend: Frontend, path: str, body: dict[str, object], words: str
) -> None:
    answer = await frontend.client.post(path, json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(words)


async def test_the_tokens_of_an_input_are_counted(frontend: Frontend) -> None:
    frontend.worker.rendered = pb.RenderResponse(text="abc", ids=[1, 2, 3], truncated_tokens=7)

    answer = await frontend.client.post("/v1/responses/input_tokens", json={"model": "m", "input": "hi"})

    assert answer.json() == {"object": "response.input_tokens", "input_tokens": 10}
    assert not frontend.worker.handles


async def test_a_host_that_does_not_count_says_so(frontend: Frontend) -> None:
    frontend.worker.rendered = pb.RenderResponse(text="abc")

    answer = await frontend.client.post("/v1/responses/input_tokens", json={"model": "m", "input": "hi"})

    assert answer.status_code == 400
    assert "does not count tokens" in answer.json()["error"]["message"]
