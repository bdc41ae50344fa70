"""Limits of keys through the whole application: which requests count, and how every dialect refuses."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from pathlib import Path

import httpx
import pytest

from drover.errors import EngineFailed
from drover.v1 import engine_pb2 as pb
from frontend.access.route_roles import ROUTES
from frontend.middleware.rate_limits import COUNTED
from tests.fakes.stalling_worker import STALL, StallingWorker, Step, content, done, started
from tests.support.access_keys import add_key, bearer
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend, Start
from tests.unit.frontend.api.preset_requests import HELLO, worker

_CHAT = {"model": "m", "messages": HELLO, "stream": False}
_MESSAGES = {**_CHAT, "max_tokens": 5}
_UNCOUNTED = {
    *("/api/me", "/api/signout", "/api/experimental/web_search", "/api/experimental/web_fetch"),
    *("/api/show", "/api/create", "/api/copy", "/api/pull", "/api/push", "/api/blobs/{digest}"),
    *("/api/tokenize", "/api/detokenize", "/v1/tokenize", "/v1/detokenize"),
    *("/v1/messages/count_tokens", "/v1/responses/input_tokens", "/v1/responses/{id}/cancel"),
    *("/v1/audio/transcriptions",),
}


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'presets.sqlite3'}"


Post = Callable[..., Coroutine[None, None, httpx.Response]]


def post_as(frontend: Frontend, secret: str) -> Post:
    async def post(
        path: str = "/api/chat", headers: dict[str, str] | None = None, **body: object
    ) -> httpx.Response:
        return await frontend.client.post(
            path, content=json.dumps({**_MESSAGES, **body}), headers={**bearer(secret), **(headers or {})}
        )

    return post


def test_every_route_that_takes_a_body_counts_or_is_known_not_to() -> None:
    """A new route needs a decision."""
    posts = {path for method, path in ROUTES if method == "POST"}
    login = {"/console/login", "/console/logout"}
    assert posts - login == COUNTED | _UNCOUNTED


_OLLAMA = {"error": "{message}"}
_OPENAI = {
    "error": {"message": "{message}", "type": "requests", "param": None, "code": "rate_limit_exceeded"}
}
_FORMS: dict[str, object] = {
    **dict.fromkeys(("/api/chat", "/api/generate", "/api/embed", "/v1/systemone"), _OLLAMA),
    **dict.fromkeys(("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"), _OPENAI),
    "/rerank": _OPENAI,
    "/v1/messages": {"type": "error", "error": {"type": "rate_limit_error", "message": "{message}"}},
    "/v2/rerank": {"message": "{message}"},
}


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_beyond_the_limit_is_refused_in_the_dialects_form(
    start: Start, url: str, stream: bool
) -> None:
    secret = await add_key(url, "alice", requests_per_minute=2)
    async with start(worker(), database_url=url) as frontend:
        post = post_as(frontend, secret)
        for _ in range(2):
            assert (await post(stream=stream)).status_code == 200
        refusals = {path: await post(path, stream=stream) for path in _FORMS}
    for path, refused in refusals.items():
        seconds = refused.headers["retry-after"]
        message = f"rate limit reached: requests_per_minute of this key is 2. Please try again in {seconds}s."
        body = refused.json()
        body.pop("request_id", None)
        assert (path, refused.status_code) == (path, 429)
        assert 20 < int(seconds) <= 30
        assert (path, body) == (path, json.loads(json.dumps(_FORMS[path]).replace("{message}", message)))
        is_v1 = path.startswith("/v1/") and path != "/v1/systemone"
        assert (path, "retry-after-ms" in refused.headers) == (path, is_v1)


async def test_a_refusal_is_counted_and_logged(
    start: Start, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = await add_key(url, "alice", requests_per_minute=1)
    watcher = await add_key(url, "watcher", role="metrics")
    caplog.set_level(logging.INFO, "drover.request")
    async with start(worker(), database_url=url) as frontend:
        post = post_as(frontend, secret)
        for _ in range(3):
            await post()
        metrics = (await frontend.client.get("/metrics", headers=bearer(watcher))).text
    assert 'drover_frontend_refused_total{limit="requests_per_minute"} 2.0' in metrics
    lines = [line for record in caplog.records if (line := vars(record).get("fields", {}))]
    refused = [line for line in lines if line.get("refused_limit")]
    assert [line["refused_limit"] for line in refused] == ["requests_per_minute"] * 2
    assert {line["error"] for line in refused} == {"RateLimited"}


async def test_what_makes_no_answer_does_not_count(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", requests_per_minute=1)
    async with start(worker(), database_url=url) as frontend:
        for path in ("/api/tags", "/api/version", "/v1/models", "/api/ps", "/healthz"):
            for _ in range(2):
                assert (await frontend.client.get(path, headers=bearer(secret))).status_code == 200
        post = post_as(frontend, secret)
        for path in ("/api/show", "/v1/messages/count_tokens"):
            assert (await post(path)).status_code == 200
        assert (await post()).status_code == 200


async def test_a_key_without_limits_is_not_limited_and_has_no_headers(start: Start, url: str) -> None:
    secret = await add_key(url, "alice")
    async with start(worker(), database_url=url) as frontend:
        post = post_as(frontend, secret)
        answers = [await post(path) for path in ("/v1/chat/completions", "/v1/messages") for _ in range(5)]
    assert {answer.status_code for answer in answers} == {200}
    assert not [name for answer in answers for name in answer.headers if "ratelimit" in name]


@pytest.mark.parametrize("stream", [True, False])
async def test_openais_headers_show_what_is_left(start: Start, url: str, stream: bool) -> None:
    secret = await add_key(url, "alice", requests_per_minute=6, tokens_per_minute=6000)
    async with start(worker(), database_url=url) as frontend:
        post = post_as(frontend, secret)
        answer = await post("/v1/chat/completions", stream=stream)
        native = await post("/api/chat", stream=stream)
    found = {name: value for name, value in answer.headers.items() if name.startswith("x-ratelimit-")}
    reset = found.pop("x-ratelimit-reset-requests")
    assert reset.endswith("s")
    assert 9 < float(reset.removesuffix("s")) <= 10
    assert found.pop("x-ratelimit-reset-tokens").endswith("ms")
    # The estimate of a quarter of the body's bytes is in it until the answer has ended.
    assert 5950 < int(found.pop("x-ratelimit-remaining-tokens")) < 6000
    assert found == {
        "x-ratelimit-limit-requests": "6",
        "x-ratelimit-remaining-requests": "5",
        "x-ratelimit-limit-tokens": "6000",
    }
    assert not [name for name in native.headers if "ratelimit" in name]


@pytest.mark.parametrize("stream", [True, False])
async def test_anthropics_headers_show_what_is_left(start: Start, url: str, stream: bool) -> None:
    secret = await add_key(url, "alice", requests_per_minute=6, tokens_per_minute=6000)
    async with start(worker(), database_url=url) as frontend:
        answer = await post_as(frontend, secret)("/v1/messages", stream=stream)
    prefix = "anthropic-ratelimit-"
    found = {name.removeprefix(prefix): value for name, value in answer.headers.items() if prefix in name}
    kinds = ("requests", "tokens", "input-tokens", "output-tokens")
    assert set(found) == {f"{kind}-{field}" for kind in kinds for field in ("limit", "remaining", "reset")}
    assert (found["requests-limit"], found["requests-remaining"]) == ("6", "5")
    assert found["tokens-limit"] == "6000"
    assert found["requests-reset"].endswith("Z")


@pytest.mark.parametrize(
    ("path", "prefix", "remaining"),
    [
        ("/v1/chat/completions", "x-ratelimit-", "x-ratelimit-remaining-requests"),
        ("/v1/messages", "anthropic-ratelimit-", "anthropic-ratelimit-requests-remaining"),
    ],
)
async def test_a_refusal_shows_what_is_left_too(
    start: Start, url: str, path: str, prefix: str, remaining: str
) -> None:
    secret = await add_key(url, "alice", requests_per_minute=1, tokens_per_minute=6000)
    async with start(worker(), database_url=url) as frontend:
        post = post_as(frontend, secret)
        admitted, refused = await post(path), await post(path)
        native = await post("/api/chat")
    assert (admitted.status_code, refused.status_code, native.status_code) == (200, 429, 429)
    assert refused.headers[remaining] == "0"
    names = [{name for name in each.headers if name.startswith(prefix)} for each in (admitted, refused)]
    assert names[0] == names[1]
    assert not [name for name in native.headers if "ratelimit" in name]


async def test_a_web_page_may_read_them(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", requests_per_minute=1)
    async with start(worker(), database_url=url) as frontend:
        post = post_as(frontend, secret)
        origin = {"origin": "http://localhost:3000"}
        answer = await post("/v1/chat/completions", headers=origin)
        refused = await post("/v1/chat/completions", headers=origin)
    exposed = answer.headers["access-control-expose-headers"].split(",")
    assert {"x-ratelimit-limit-requests", "x-ratelimit-reset-requests"} <= set(exposed)
    assert {"retry-after", "retry-after-ms"} <= set(
        refused.headers["access-control-expose-headers"].split(",")
    )


async def test_tokens_of_an_answer_count_when_it_has_ended(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", tokens_per_minute=100)
    fake = worker()
    ended = pb.GenerateEvent(done=pb.Done(finish_reason=pb.Done.STOP, prompt_tokens=90, completion_tokens=60))
    fake.steps = [started(), content("hi"), ended]
    async with start(fake, database_url=url) as frontend:
        post = post_as(frontend, secret)
        assert (await post("/v1/chat/completions")).status_code == 200
        refused = await post("/v1/chat/completions")
    # 50 of debt, and room for an answer like the last.
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "90")
    assert refused.json()["error"]["type"] == "tokens"
    assert "tokens_per_minute of this key is 100" in refused.json()["error"]["message"]


async def test_a_body_of_unknown_length_counts_a_tenth_of_the_limit(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", tokens_per_minute=100)

    async def chunks() -> AsyncGenerator[bytes, None]:
        yield json.dumps(_MESSAGES).encode()

    async with start(worker(), database_url=url) as frontend:
        path, headers = "/v1/chat/completions", bearer(secret)
        answer = await frontend.client.post(path, content=chunks(), headers=headers)
    assert answer.headers["x-ratelimit-remaining-tokens"] == "90"


@pytest.mark.parametrize("failure", [STALL, EngineFailed("it broke")], ids=["client left", "engine failed"])
@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages"])
async def test_tokens_of_an_answer_that_was_cut_off_count(
    start: Start, url: str, path: str, failure: Step
) -> None:
    secret = await add_key(url, "alice", tokens_per_minute=100)
    made = pb.GenerateEvent(deltas=[pb.Delta(content="hi", token_ids=range(60))])
    begun = pb.GenerateEvent(started=pb.Started(prompt_ids=range(70)))
    async with start(StallingWorker(steps=[begun, made, failure]), database_url=url) as frontend:
        post = post_as(frontend, secret)
        running = asyncio.create_task(post(path, stream=True))
        handle = await frontend.handle()
        if failure is STALL:
            await asyncio.wait_for(handle.stalled.wait(), DEADLINE_SECONDS)
            running.cancel()
        await asyncio.wait({running})
        await asyncio.wait_for(handle.cancelled.wait(), DEADLINE_SECONDS)
        frontend.worker.steps = [started(), done()]

        async def is_refused() -> bool:
            refused = await post(path)
            # 30 of debt, and room for an answer like the last.
            return refused.status_code == 429 and int(refused.headers["retry-after"]) > 70

        await until(is_refused, DEADLINE_SECONDS, "the tokens count")


async def test_tokens_of_embeddings_count(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", tokens_per_minute=100)
    fake = worker()
    fake.described.capabilities.embedding = True
    fake.embedded = pb.EmbedResponse(embeddings=[pb.Embedding(values=[1.0])], prompt_tokens=150)
    async with start(fake, database_url=url) as frontend:
        post = post_as(frontend, secret)
        assert (await post("/v1/embeddings", input="hi")).status_code == 200
        refused = await post("/api/embed", input="hi")
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "90")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_stream_is_free_again_when_its_client_leaves(start: Start, url: str, stream: bool) -> None:
    secret = await add_key(url, "alice", streams=1)
    fake = StallingWorker(steps=[started(), content("hi"), STALL])
    async with start(fake, database_url=url) as frontend:
        post = post_as(frontend, secret)
        running = asyncio.create_task(post("/v1/chat/completions", stream=stream))
        handle = await frontend.handle()
        refused = await post("/v1/chat/completions")
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
        assert refused.json()["error"]["message"].startswith("rate limit reached: streams of this key is 1.")
        running.cancel()
        await asyncio.wait({running})
        await asyncio.wait_for(handle.cancelled.wait(), DEADLINE_SECONDS)
        fake.steps = [started(), content("hi"), done()]

        async def is_admitted() -> bool:
            return (await post("/v1/chat/completions")).status_code == 200

        await until(is_admitted, DEADLINE_SECONDS, "the stream is free again")


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions", "/v1/messages", "/v1/responses"])
async def test_a_stream_is_free_again_after_an_error(start: Start, url: str, path: str) -> None:
    secret = await add_key(url, "alice", streams=1)
    async with start(worker(), database_url=url) as frontend:
        post = post_as(frontend, secret)
        for _ in range(3):
            assert (await post(path, model="none", input="hi")).status_code == 404
            assert (await post(path, messages=7, input=7)).status_code == 400


async def test_choices_count_as_answers_in_flight(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", streams=2, requests_per_minute=60)
    async with start(worker(), database_url=url) as frontend:
        post = post_as(frontend, secret)
        assert (await post("/v1/chat/completions", n=2)).status_code == 200
        last = await post("/v1/chat/completions", n=2)
        too_many = await post("/v1/chat/completions", n=3)
        prompts = await post("/v1/completions", prompt=["a", "b", "c"])
    assert (last.status_code, last.headers["x-ratelimit-remaining-requests"]) == (200, "58")
    assert [too_many.status_code, prompts.status_code] == [400, 400]
    assert "3 answers that run at the same time, and the limit streams" in too_many.json()["error"]["message"]


async def test_choices_that_find_no_place_are_refused_as_requests_are(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", streams=2, requests_per_minute=60)
    async with start(StallingWorker(steps=[started(), STALL]), database_url=url) as frontend:
        post = post_as(frontend, secret)
        first = asyncio.create_task(post("/v1/chat/completions"))
        await frontend.handle()
        refused = await post("/v1/chat/completions", n=2)
        first.cancel()
        await asyncio.wait({first})
    assert (refused.status_code, refused.headers["retry-after-ms"]) == (429, "1000")


async def test_a_background_response_is_in_flight_until_it_ends(start: Start, url: str) -> None:
    secret = await add_key(url, "alice", streams=1)
    fake = StallingWorker(steps=[started(), content("hi"), STALL])
    async with start(fake, database_url=url, store_responses=True) as frontend:
        post = post_as(frontend, secret)
        created = await post("/v1/responses", input="hi", background=True, store=True)
        assert created.status_code == 200
        await frontend.handle()
        assert (await post("/v1/responses", input="hi")).status_code == 429
        cancelled = await post(f"/v1/responses/{created.json()['id']}/cancel")
        assert cancelled.status_code == 200
        fake.steps = [started(), content("hi"), done()]

        async def is_admitted() -> bool:
            return (await post("/v1/responses", input="hi")).status_code == 200

        await until(is_admitted, DEADLINE_SECONDS, "the stream is free again")


async def test_a_large_body_is_refused_without_being_read(start: Start, url: str) -> None:
    """The connection stays usable for the client's next request."""
    secret = await add_key(url, "alice", requests_per_minute=1)
    async with start(worker(), database_url=url) as frontend:
        post = post_as(frontend, secret)
        await post()
        for _ in range(3):
            refused = await post(filler="x" * 2_000_000)
            assert refused.status_code == 429
