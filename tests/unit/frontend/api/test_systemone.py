"""POST /v1/systemone: Ollama's statuses, texts, limits and key order; what reaches the worker."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import math
from typing import Any

import pytest
import zstandard

from drover.errors import (
    CapabilityMissing,
    ContextExceeded,
    DroverError,
    EngineFailed,
    QueueFull,
    WorkerUnreachable,
)
from drover.json_value import Json
from drover.v1 import engine_pb2 as pb
from tests.fakes.http_server import RawClient
from tests.fakes.stalling_worker import StallingWorker
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Start

_PATH = "/v1/systemone"
_PNG = base64.b64encode(b"image").decode()
_NOUL: dict[str, Any] = {"type": "noul", "instructions": "The customer asks for a refund."}
_CHOICE: dict[str, Any] = {
    "type": "choice",
    "instructions": "Which team?",
    "criteria": {"shipping": None, "billing": "payments"},
}
_SCORE: dict[str, Any] = {
    "type": "score",
    "instructions": "How urgent?",
    "criteria": ["can wait", "soon", "now"],
}


def _model(**capabilities: bool) -> pb.Model:
    can = pb.Capabilities(**{"completion": True, "decision": True, **capabilities})
    return pb.Model(names=["m:latest"], context_length=512, capabilities=can)


def _scores(*logprobs: list[float], prompt_tokens: int = 50, cached_tokens: int = 30) -> pb.ScoreResponse:
    return pb.ScoreResponse(
        results=[pb.ScoreResult(logprobs=each, label_ids=range(len(each))) for each in logprobs],
        prompt_tokens=prompt_tokens,
        cached_tokens=cached_tokens,
        timings=pb.Timings(queue_ns=10, prefill_ns=20),
    )


def _worker(*logprobs: list[float], **capabilities: bool) -> StallingWorker:
    return StallingWorker(described=_model(**capabilities), scored=_scores(*logprobs or ([-1.0, -2.0],)))


def _body(questions: Json = None, **more: Json) -> dict[str, Json]:
    return {"model": "m", "state": "hello", "questions": questions or {"q": _NOUL}, **more}


def _log(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    line: dict[str, Any] = [
        each.__dict__["fields"] for each in caplog.records if each.name == "drover.request"
    ][-1]
    return line


async def test_answers_in_the_order_of_the_questions_and_keys_in_ollamas(start: Start) -> None:
    questions: Json = {"urgency": _SCORE, "team": _CHOICE, "refund": _NOUL}
    worker = _worker(
        [-1.2, -2.0, -3.5], [-3.0, -1.0], [0 - math.log(math.exp(2) + 1), 2 - math.log(math.exp(2) + 1)]
    )
    async with start(worker) as frontend:
        answer = await frontend.client.post(_PATH, json=_body(questions, model="M:latest"))

    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json; charset=utf-8")
    body = answer.json()
    assert list(body) == ["model", "answers", "usage", "prompt_eval_cached_count"]
    assert body["model"] == "M:latest"
    assert (body["usage"], body["prompt_eval_cached_count"]) == ({"input_tokens": 50, "output_tokens": 0}, 30)
    assert list(body["answers"]) == ["urgency", "team", "refund"]
    urgency, team, refund = body["answers"].values()
    assert list(urgency) == ["type", "score", "legend", "probabilities", "confidence"]
    assert urgency["legend"] == {"0": "can wait", "1": "soon", "2": "now"}
    assert list(urgency["probabilities"]) == ["0", "1", "2"]
    assert urgency["score"] == pytest.approx(0.419367, abs=1e-6)
    assert urgency["confidence"] == pytest.approx(0.254721, abs=1e-6)
    assert list(team) == ["type", "choice", "probabilities", "confidence"]
    assert (team["choice"], list(team["probabilities"])) == ("billing", ["shipping", "billing"])
    assert list(refund) == ["type", "noul"]
    assert refund["noul"] == pytest.approx(0.119203, abs=1e-6)


async def test_whole_numbers_have_no_fraction(start: Start) -> None:
    async with start(_worker([-9999.0, 0.0])) as frontend:
        answer = await frontend.client.post(_PATH, json=_body({"q": _CHOICE}))
    assert '"probabilities":{"shipping":0,"billing":1},"confidence":1}' in answer.text


async def test_what_reaches_the_worker(start: Start) -> None:
    async with start(_worker([-1.0, -2.0], [-1.0, -2.0])) as frontend:
        await frontend.client.post(
            _PATH,
            json=_body(
                {"a": _NOUL, "b": _CHOICE}, state={"b": 1, "a": ["x", None]}, keep_alive="5m", stream=True
            ),
            headers={"x-drover-priority": "-1"},
        )
        (request,) = frontend.worker.scores

    assert (request.model, request.keep_alive_ns, request.priority) == ("m:latest", 300 * 10**9, -1)
    assert len(request.request_id) == 32
    assert [list(item.labels) for item in request.items] == [["yes", "no"], ["A", "B"]]
    (message,) = request.items[0].chat.messages
    assert message.role == "user"
    assert message.content.startswith('{"b":1,"a":["x",null]}\n\nIs the following true?')


async def test_images_reach_a_model_that_sees(start: Start) -> None:
    async with start(_worker(vision=True)) as frontend:
        answer = await frontend.client.post(_PATH, json=_body(images=[_PNG, _PNG]))
        (request,) = frontend.worker.scores
    assert answer.status_code == 200
    assert [image.data for image in request.items[0].chat.messages[0].images] == [b"image", b"image"]


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (_body(model=""), "model is required"),
        (_body(model="  "), "model is required"),
        ({"state": "s", "questions": {"q": _NOUL}}, "model is required"),
        (_body(state=None), "state: must be a string, object, or array"),
        (_body(state=5), "state: must be a string, object, or array"),
        (_body(state=""), "state must not be empty"),
        (_body(state=[]), "state must not be empty"),
        (_body(state={}), "state must not be empty"),
        (_body(videos=["x"]), "video inputs are not supported"),
        (_body(images=[_PNG]), "image inputs are not supported by this decision model"),
        (_body(images=[_PNG, ""]), "image 1 must not be empty"),
        (_body(images=["data:image/png;base64," + _PNG]), "illegal base64 data at input byte 4"),
        ({"model": "m", "state": "s"}, "questions must contain 1\u201364 fields"),
        (_body({f"q{number}": _NOUL for number in range(65)}), "questions must contain 1\u201364 fields"),
        (_body({" ": _NOUL}), 'question " ": field name must not be empty'),
    ],
)
async def test_refusals_have_ollamas_texts(start: Start, body: Json, text: str) -> None:
    async with start(_worker()) as frontend:
        answer = await frontend.client.post(_PATH, json=body)
        assert frontend.worker.scores == []
    assert (answer.status_code, answer.json()) == (400, {"error": text})


@pytest.mark.parametrize(
    ("text", "questions"),
    [
        (
            "instructions must be a nonempty string, object, or array",
            [{**_NOUL, "instructions": " "}, {"type": "noul"}, {**_NOUL, "instructions": 5}],
        ),
        (
            "noul criteria must be an object of true/false descriptions",
            [{**_NOUL, "criteria": ["x"]}],
        ),
        (
            "noul descriptions must be strings",
            [{**_NOUL, "criteria": {"true": 1}}],
        ),
        (
            'unknown noul criterion "k"',
            [{**_NOUL, "criteria": {"k": "x"}}],
        ),
        (
            "choice criteria must map option keys to descriptions or null",
            [{**_CHOICE, "criteria": ["a", "b"]}, {**_CHOICE, "criteria": {"a": 1, "b": "x"}}],
        ),
        (
            "choice keys must not be empty",
            [{**_CHOICE, "criteria": {"": None, "b": None}}],
        ),
        (
            "criteria must contain 2\u201326 candidates",
            [
                {**_CHOICE, "criteria": {"a": None}},
                {**_SCORE, "criteria": ["a"]},
                {**_SCORE, "criteria": ["a"] * 27},
            ],
        ),
        (
            "score criteria must be an array of descriptions",
            [{**_SCORE, "criteria": {"a": "b"}}],
        ),
        (
            "score descriptions must be strings",
            [{**_SCORE, "criteria": ["a", None]}],
        ),
        (
            "type must be choice, noul, or score",
            [{"type": "box", "instructions": "x"}, {"instructions": "x"}],
        ),
    ],
)
async def test_a_refused_question_is_named(start: Start, text: str, questions: list[Any]) -> None:
    async with start(_worker()) as frontend:
        for question in questions:
            answer = await frontend.client.post(_PATH, json=_body({"q": question}))
            assert (answer.status_code, answer.json()) == (400, {"error": f'question "q": {text}'})
        assert frontend.worker.scores == []


@pytest.mark.parametrize(
    "question",
    [
        {**_NOUL, "criteria": None},
        {**_NOUL, "criteria": {}},
        {**_NOUL, "criteria": {"true": "a refund is due", "false": None}},
        {**_NOUL, "instructions": {"is": ["it", "so"]}},
        {**_CHOICE, "criteria": {f"option {number}": None for number in range(26)}},
        {**_SCORE, "criteria": [f"level {number}" for number in range(26)]},
        {**_SCORE, "unknown": 1},
    ],
    ids=str,
)
async def test_questions_that_ollama_takes(start: Start, question: dict[str, Any]) -> None:
    criteria = question["criteria"] if "criteria" in question and question["type"] != "noul" else None
    async with start(_worker([-1.0] * (len(criteria) if criteria else 2))) as frontend:
        answer = await frontend.client.post(_PATH, json=_body({"q": question}))
    assert answer.status_code == 200, answer.text


async def test_a_body_of_64_kib_passes_and_one_more_byte_does_not(start: Start) -> None:
    async with start(_worker(vision=True)) as frontend:
        empty = len(json.dumps(_body(state="")))
        for surplus, status in ((0, 200), (1, 413)):
            body = json.dumps(_body(state="x" * (64 * 1024 - empty + surplus)))
            assert len(body) == 64 * 1024 + surplus
            answer = await frontend.client.post(_PATH, content=body)
            assert answer.status_code == status
        assert answer.json() == {"error": "request body must not exceed 64 KiB without images"}
        with_images = await frontend.client.post(_PATH, json=_body(state="x" * 70_000, images=[_PNG]))
        assert with_images.status_code == 200
        without = await frontend.client.post(_PATH, json=_body(state="x" * 70_000, images=[]))
        assert without.status_code == 413


async def test_a_body_with_images_ends_at_32_mib(start: Start) -> None:
    async with start(_worker(vision=True)) as frontend:
        answer = await frontend.client.post(_PATH, content=b" " * (32 * 1024 * 1024 + 1))
    assert (answer.status_code, answer.json()) == (413, {"error": "request body must not exceed 32 MiB"})


async def test_a_smaller_limit_of_the_operators_is_named(start: Start) -> None:
    async with start(_worker(vision=True), max_body_bytes=100_000) as frontend:
        answer = await frontend.client.post(_PATH, content=b" " * 100_001)
    assert (answer.status_code, "at most 100000 bytes" in answer.json()["error"]) == (413, True)


@pytest.mark.parametrize(
    ("state", "images"),
    [("x" * 1_100_000, [_PNG]), ("x", ["YQ=="] * 5_000)],
    ids=["large state", "many small images"],
)
async def test_the_prompts_of_all_questions_are_bounded(start: Start, state: str, images: list[Json]) -> None:
    questions: Json = {f"q{number}": _NOUL for number in range(64)}
    async with start(_worker(vision=True)) as frontend:
        answer = await frontend.client.post(_PATH, json=_body(questions, state=state, images=images))
        assert (answer.status_code, frontend.worker.scores) == (400, [])
    assert "ask them in several requests" in answer.json()["error"]


async def test_a_body_may_be_zstd(start: Start) -> None:
    async with start(_worker()) as frontend:
        packed = zstandard.compress(json.dumps(_body()).encode())
        answer = await frontend.client.post(_PATH, content=packed, headers={"content-encoding": "zstd"})
        assert answer.status_code == 200
        large = zstandard.compress(json.dumps(_body(state="x" * 70_000)).encode())
        answer = await frontend.client.post(_PATH, content=large, headers={"content-encoding": "zstd"})
    assert answer.status_code == 413


async def test_errors_are_ollamas_also_under_v1(start: Start) -> None:
    async with start(_worker()) as frontend:
        broken = await frontend.client.post(_PATH, content=b"{")
        assert (broken.status_code, broken.json()) == (400, {"error": "unexpected EOF"})
        missing = await frontend.client.post(_PATH, json=_body(model="nowhere"))
        assert (missing.status_code, missing.json()) == (404, {"error": "model 'nowhere' not found"})
        wrong = await frontend.client.post(_PATH, json=_body(["x"]))
        assert wrong.json()["error"].startswith("json: cannot unmarshal array into Go struct field")


async def test_a_model_that_cannot_decide_is_refused_before_a_worker_is_asked(start: Start) -> None:
    async with start(_worker(decision=False)) as frontend:
        answer = await frontend.client.post(_PATH, json=_body())
        assert frontend.worker.scores == []
        show = await frontend.client.post("/api/show", json={"model": "m"})
    assert (answer.status_code, answer.json()) == (400, {"error": '"m" does not support decision'})
    assert "decision" not in show.json()["capabilities"]


async def test_the_capability_is_listed(start: Start) -> None:
    async with start(_worker()) as frontend:
        show = await frontend.client.post("/api/show", json={"model": "m"})
        tags = await frontend.client.get("/api/tags")
    assert show.json()["capabilities"] == ["completion", "decision"]
    assert tags.json()["models"][0]["capabilities"] == ["completion", "decision"]


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (ContextExceeded("too long"), 400),
        (CapabilityMissing("no such label"), 400),
        (QueueFull(), 503),
        (EngineFailed("broken"), 500),
        (WorkerUnreachable("gone"), 503),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_worker_s_failure_has_its_status(start: Start, failure: DroverError, status: int) -> None:
    worker = _worker()
    worker.scored = failure
    async with start(worker) as frontend:
        answer = await frontend.client.post(_PATH, json=_body())
    assert (answer.status_code, answer.json()) == (status, {"error": failure.message})


async def test_a_preset_inherits_and_its_template_makes_the_prompts(start: Start) -> None:
    async with start(_worker(go_template=True)) as frontend:
        made = await frontend.client.post(
            "/api/create",
            json={
                "model": "judge",
                "from": "m",
                "template": "{{ .Prompt }}",
                "system": "Be a pirate.",
                "parameters": {"num_ctx": 99},
                "stream": False,
            },
        )
        assert made.status_code == 200
        answer = await frontend.client.post(_PATH, json=_body(model="judge"))
        show = await frontend.client.post("/api/show", json={"model": "judge"})
        (request,) = frontend.worker.scores
    assert answer.json()["model"] == "judge"
    assert (request.template, request.num_ctx) == ("{{ .Prompt }}", 99)
    assert [message.role for message in request.items[0].chat.messages] == ["user"]
    assert "decision" in show.json()["capabilities"]


async def test_a_client_that_leaves_cancels_the_request(start: Start) -> None:
    worker = _worker()
    worker.scored = None
    async with start(worker) as frontend:
        client = await RawClient.post(frontend.port, _PATH, _body())
        await until(lambda: bool(worker.scores), DEADLINE_SECONDS, "the worker gets it")
        client.leave()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await worker.score_cancelled.wait()


async def test_it_is_logged_and_counted_like_any_request(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "drover.request")
    async with start(_worker()) as frontend:
        await frontend.client.post(_PATH, json=_body())
        await until(lambda: bool(caplog.records), DEADLINE_SECONDS, "it is logged")
        line = _log(caplog)
        metrics = (await frontend.client.get("/metrics")).text
    assert (line["prompt_tokens"], line["cached_tokens"], line["scored"], line["model"]) == (50, 30, 1, "m")
    assert 'drover_frontend_tokens_total{kind="prompt",model="m:latest"} 50.0' in metrics
    assert f'route="{_PATH}"' in metrics


async def test_a_virtual_model_decides_only_where_its_name_fixes_a_side(start: Start) -> None:
    routers = json.dumps({"auto": {"simple": "m", "complex": "m", "judge": "m"}})
    async with start(_worker(), smart_routers=routers) as frontend:
        answer = await frontend.client.post(_PATH, json=_body(model="auto"))
        show = await frontend.client.post("/api/show", json={"model": "auto"})
        forced = await frontend.client.post(_PATH, json=_body(model="auto:simple"))
        (request,) = frontend.worker.scores
        metrics = (await frontend.client.get("/metrics")).text
    assert 'drover_frontend_tokens_total{kind="prompt",model="m:latest"} 50.0' in metrics
    assert answer.status_code == 400
    assert answer.json()["error"].startswith('"auto" does not support decision: it is a virtual model')
    assert "decision" not in show.json()["capabilities"]
    assert (forced.status_code, forced.json()["model"], request.model) == (200, "auto:simple", "m:latest")
