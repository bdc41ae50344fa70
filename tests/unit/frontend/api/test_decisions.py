"""POST /v1/decisions: OpenAI's shape, and SGLang's by its marks."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from drover.errors import ContextExceeded
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker
from tests.unit.frontend.api.conftest import Start

_PATH = "/v1/decisions"
_IMAGE = "data:image/png;base64," + base64.b64encode(b"image").decode()
_PREDICATE: dict[str, Json] = {"type": "predicate", "instructions": "It is a refund."}
_CHOICE: dict[str, Json] = {
    "type": "choice",
    "name": "team",
    "instructions": "Which?",
    "choices": [{"value": "true", "description": "d"}, {"value": True}],
}
_SCORE: dict[str, Json] = {
    "type": "score",
    "instructions": "How urgent?",
    "levels": [{"label": "low"}, {"label": "mid", "description": "soon"}, {"label": "high"}],
}
_YES_NO: dict[str, Json] = {"id": "refund", "type": "yes_no", "question": "Is it?", "yes": "due"}


def _worker(*logprobs: list[float], **capabilities: bool) -> StallingWorker:
    can = pb.Capabilities(**{"completion": True, "decision": True, **capabilities})
    results = [
        pb.ScoreResult(logprobs=each, label_ids=range(len(each)), prompt_ids=[7, 8])
        for each in logprobs or ([-1.0, -2.0],)
    ]
    return StallingWorker(
        described=pb.Model(names=["m:latest"], context_length=512, capabilities=can),
        scored=pb.ScoreResponse(results=results, prompt_tokens=50, cached_tokens=30),
    )


def _body(*questions: Json, **more: Json) -> dict[str, Json]:
    return {"model": "m", "input": "hello", "questions": list(questions) or [_PREDICATE], **more}


def _sglang(*questions: Json, **more: Json) -> dict[str, Json]:
    return _body(*(questions or (_YES_NO,)), **more)


def _nested(levels: int) -> Json:
    value: Json = 0
    for _ in range(levels):
        value = [value]
    return value


async def test_answers_in_order_with_openais_keys(start: Start) -> None:
    worker = _worker([-1.0, -2.0], [-2.0, -1.0], [-1.2, -2.0, -3.5])
    async with start(worker) as frontend:
        answer = await frontend.client.post(_PATH, json=_body(_PREDICATE, _CHOICE, _SCORE))

    body = answer.json()
    assert (answer.status_code, list(body), body["model"]) == (200, ["model", "answers", "usage"], "m")
    assert body["usage"] == {
        "input_tokens": 50,
        "input_tokens_details": {"cached_tokens": 30, "cache_write_tokens": 0},
        "output_tokens": 0,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 50,
    }
    predicate, choice, score = body["answers"]
    assert list(predicate) == ["type", "name", "probability"]
    assert (predicate["name"], predicate["probability"]) == (None, pytest.approx(0.731059, abs=1e-6))
    assert list(choice) == ["type", "name", "choice", "probabilities", "confidence"]
    assert (choice["name"], choice["choice"]) == ("team", True)
    assert [each["value"] for each in choice["probabilities"]] == ["true", True]
    assert choice["confidence"] == pytest.approx(2 * 0.731059 - 1, abs=1e-6)
    assert list(score) == ["type", "name", "score", "probabilities", "confidence"]
    assert [(each["value"], each["label"]) for each in score["probabilities"]] == [
        (0, "low"), (1, "mid"), (2, "high"),
    ]  # fmt: skip
    assert score["score"] == pytest.approx(0.419367, abs=1e-6)
    assert score["confidence"] == pytest.approx(0.370949, abs=1e-6)


async def test_a_conversation_is_read_as_a_transcript(start: Start) -> None:
    items: Json = [
        {"role": "developer", "content": "Be fair."},
        {"type": "message", "role": "user", "content": [
            {"type": "input_text", "text": "Look:"},
            {"type": "input_image", "image_url": _IMAGE},
            {"type": "input_json", "data": {"total": [1, "€"]}},
        ]},
        {"type": "function_call", "call_id": "1", "name": "order", "arguments": '{"id":5}'},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "paid"}]},
        {"type": "custom_tool_call", "call_id": "2", "name": "grep", "input": "x"},
        {"type": "custom_tool_call_output", "call_id": "2", "output": "y"},
        {"role": "assistant", "content": [
            {"type": "output_text", "text": "Hm."}, {"type": "refusal", "refusal": "No."},
        ]},
    ]  # fmt: skip
    asked: Json = {**_PREDICATE, "instructions": [
        {"type": "input_text", "text": "As here?"}, {"type": "input_image", "image_url": _IMAGE},
    ]}  # fmt: skip
    async with start(_worker(vision=True)) as frontend:
        answer = await frontend.client.post(_PATH, json=_body(asked, input=items))
        assert answer.status_code == 200, answer.text
        (request,) = frontend.worker.scores
    (message,) = request.items[0].chat.messages
    assert message.content == (
        'developer: Be fair.\n\nuser: Look:\n[image 1]\n{"total":[1,"€"]}\n\nassistant: order({"id":5})\n\n'
        "result of order: paid\n\nassistant: grep(x)\n\nresult of grep: y\n\nassistant: Hm.\nNo.\n\n"
        "Is the following true? As here?\n[image 2]\nAnswer with yes or no only."
    )
    assert [image.data for image in message.images] == [b"image", b"image"]


async def test_one_user_message_is_the_state_itself(start: Start) -> None:
    async with start(_worker()) as frontend:
        await frontend.client.post(_PATH, json=_body(input=[{"role": "user", "content": "hello"}]))
        (request,) = frontend.worker.scores
    assert request.items[0].chat.messages[0].content.startswith("hello\n\nIs the following true?")


async def test_more_options_than_letters_get_pairs_of_letters(start: Start) -> None:
    choices: Json = [{"value": f"option {number}"} for number in range(255)]
    async with start(_worker([-9.0] * 254 + [-1.0])) as frontend:
        answer = await frontend.client.post(_PATH, json=_body({**_CHOICE, "choices": choices}))
        (request,) = frontend.worker.scores
    assert answer.json()["answers"][0]["choice"] == "option 254"
    assert (request.items[0].labels[0], request.items[0].labels[254]) == ("AA", "JU")


async def test_fields_without_effect_are_named(start: Start) -> None:
    async with start(_worker()) as frontend:
        answer = await frontend.client.post(
            _PATH, json=_body(prompt_cache_key="k", reasoning={"effort": "low"})
        )
        kept = await frontend.client.post(_PATH, json=_body(keep_alive="5m"))
    assert answer.headers["x-drover-not-honoured"] == "reasoning"
    assert "x-drover-not-honoured" not in kept.headers
    assert frontend.worker.scores[1].keep_alive_ns == 300 * 10**9


_REFUSED: list[tuple[Json, str]] = [
    ([], "the body must be a JSON object"),
    (_body(model=None), "model is required"),
    (_body(input=None), "input must be a text or a list of items"),
    (_body(input=" "), "input must not be empty"),
    (_body(input=[]), "input must not be empty"),
    (_body(input=[5]), "input[0] must be an object"),
    (_body(input=[{"role": "tool", "content": "x"}]), "input[0].role must be one of"),
    (_body(input=[{"role": "user"}]), "input[0].content must be a text or a list of parts"),
    (_body(input=[{"type": "reasoning"}]), 'input[0].type "reasoning" is not known here'),
    (
        _body(input=[{"type": "function_call_output", "call_id": "1", "output": "x"}]),
        "is of no call before it",
    ),
    (_body(input=[{"role": "user", "content": [{"type": "input_file"}]}]), 'content[0].type "input_file"'),
    (
        _body(
            input=[{"role": "user", "content": [{"type": "input_image", "image_url": "https://a.b/c.png"}]}]
        ),
        "image URLs are not currently supported",
    ),
    ({"model": "m", "input": "x", "questions": []}, "questions must be a list of at least one question"),
    (_body(*[_PREDICATE] * 401), "questions must have 1 to 400 entries, not 401"),
    (
        _body({"type": "box", "instructions": "x"}),
        'questions[0].type must be predicate, choice or score, not "box"',
    ),
    (_body({"type": "predicate", "instructions": " "}), "questions[0].instructions must not be empty"),
    (_body({**_PREDICATE, "name": 5}), "questions[0].name must be a text"),
    (
        _body({**_CHOICE, "choices": [{"value": "a"}]}),
        "questions[0].choices must have 2 to 255 entries, not 1",
    ),
    (_body({**_CHOICE, "choices": [{"value": "a"}] * 2}), "the values of questions[0].choices must differ"),
    (_body({**_CHOICE, "choices": [{"value": 1}, {"value": 2}]}), "choices[0].value must be a text"),
    (_body({**_CHOICE, "choices": ["a", "b"]}), "questions[0].choices must be a list of objects"),
    (
        _body({**_SCORE, "levels": [{"label": "a"}] * 11}),
        "questions[0].levels must have 2 to 10 entries, not 11",
    ),
    (_body({**_SCORE, "levels": [{"label": ""}, {"label": "b"}]}), "levels[0].label must be a text"),
    (_sglang(unknown=1), "unknown is not a field of this API"),
    (_sglang({**_YES_NO, "extra": 1}), "question 'refund': extra is not a field of this API"),
    (_sglang(_YES_NO, _YES_NO), "question id 'refund' repeats another question"),
    (_sglang(*[{**_YES_NO, "id": f"{at}"} for at in range(2_001)]), "questions: 2001 are too many"),
    (_sglang(temperature=0), "temperature must be a number above 0"),
    (_sglang(prompt_format_version=2), "prompt_format_version 2 is not served"),
    (
        _sglang(chat_template_kwargs={"enable_thinking": True}),
        "chat_template_kwargs can only switch thinking off",
    ),
    (_sglang(input={}), "input must not be blank"),
    (_sglang({**_YES_NO, "question": " "}), "question 'refund': question must not be blank"),
    (_sglang({**_YES_NO, "type": "noul"}), "question 'refund': type must be choice, score or yes_no"),
    (
        _sglang({"id": "c", "type": "choice", "question": "q", "options": [{"name": "A"}, {"name": "a"}]}),
        "the options' names must differ",
    ),
    (_sglang({"id": "s", "type": "score", "question": "q", "levels": ["a"]}), "a list of 2 to 10 levels"),
    (_sglang({"id": " ", "type": "yes_no", "question": "q"}), "questions[0].id must be a text"),
]


@pytest.mark.parametrize(("body", "text"), _REFUSED, ids=[text[:40] for _, text in _REFUSED])
async def test_refusals(start: Start, body: Json, text: str) -> None:
    async with start(_worker()) as frontend:
        answer = await frontend.client.post(_PATH, json=body)
        assert frontend.worker.scores == []
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert text in error["message"]
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, None)


@pytest.mark.parametrize(
    "data",
    [
        [0] * 10_001,
        "x" * (256 * 1024 + 1),
        _nested(33),
    ],
    ids=["values", "bytes", "levels"],
)
async def test_json_parts_are_bounded(start: Start, data: Json) -> None:
    items: Json = [{"role": "user", "content": [{"type": "input_json", "data": data}]}]
    async with start(_worker()) as frontend:
        answer = await frontend.client.post(_PATH, json=_body(input=items))
    assert answer.status_code == 400
    assert "input[0].content[0].data may have at most" in answer.json()["error"]["message"]


async def test_the_bytes_of_all_prompts_are_bounded(start: Start) -> None:
    async with start(_worker()) as frontend:
        answer = await frontend.client.post(_PATH, json=_body(*[_PREDICATE] * 400, input="x" * 200_000))
        assert frontend.worker.scores == []
    assert answer.status_code == 400
    assert "400 questions about a state of 200000 bytes" in answer.json()["error"]["message"]


async def test_sglangs_request_gets_sglangs_answer(start: Start) -> None:
    questions: list[Json] = [
        _YES_NO,
        {"id": "team", "type": "choice", "question": "Which?", "options": [{"name": "a"}, {"name": "b"}]},
        {"id": "urgency", "type": "score", "question": {"how": "urgent"}, "levels": ["low", "mid", "high"]},
    ]  # fmt: skip
    worker = _worker([-1.0, -2.0], [-2.0, -1.0], [-1.2, -2.0, -3.5])
    async with start(worker) as frontend:
        answer = await frontend.client.post(
            _PATH, json=_body(*questions, input={"a": 1}, temperature=2, return_prompt_token_ids=True)
        )
        (request,) = worker.scores

    body: dict[str, Any] = answer.json()
    assert list(body) == ["object", "model", "prompt_format_version", "answers", "usage"]
    assert (body["object"], body["prompt_format_version"]) == ("decisions", 1)
    assert (body["usage"]["prompt_tokens"], body["usage"]["total_tokens"]) == (50, 50)
    refund, team, urgency = (body["answers"][name] for name in ("refund", "team", "urgency"))
    assert list(refund["probabilities"]) == ["yes", "no"]
    assert (team["choice"], list(team["probabilities"])) == ("b", ["a", "b"])
    assert urgency["score"] == pytest.approx(0.656075, abs=1e-6)
    assert urgency["label_mass"] == pytest.approx(0.466727, abs=1e-6)
    assert (refund["prompt_token_ids"], refund["label_token_ids"]) == ([7, 8], [0, 1])
    assert "confidence" not in urgency
    assert request.return_prompt_ids
    assert (
        request.items[0]
        .chat.messages[0]
        .content.startswith('{"a":1}\n\nIs the following true? Is it?\nyes: due')
    )
    assert 'Question: {"how":"urgent"}\n0: low' in request.items[2].chat.messages[0].content


async def test_errors_of_the_model_are_openais(start: Start) -> None:
    worker = _worker()
    worker.scored = ContextExceeded("too long")
    async with start(worker) as frontend:
        missing = await frontend.client.post(_PATH, json=_body(model="nowhere"))
        too_long = await frontend.client.post(_PATH, json=_body())
        unseen = await frontend.client.post(_PATH, json=_sglang(images=[_IMAGE]))
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
    assert (too_long.status_code, too_long.json()["error"]["code"]) == (400, "context_length_exceeded")
    assert "image inputs are not supported" in unseen.json()["error"]["message"]


@pytest.mark.parametrize("path", [_PATH, "/v1/systemone"])
async def test_other_methods_and_origins(start: Start, path: str) -> None:
    async with start(_worker()) as frontend:
        got = await frontend.client.get(path)
        preflight = await frontend.client.options(
            path, headers={"origin": "http://localhost:3000", "access-control-request-method": "POST"}
        )
        foreign = await frontend.client.post(path, json=_body(), headers={"origin": "http://evil.example"})
    assert (got.status_code, got.headers["allow"]) == (405, "POST")
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "http://localhost:3000"
    assert foreign.status_code == 403
