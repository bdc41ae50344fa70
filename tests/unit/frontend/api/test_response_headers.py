"""Diagnostic headers of a response, sent with the first event and noted in the log line."""

from __future__ import annotations

import logging

import pytest

from drover.errors import EngineFailed
from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import content, done
from tests.unit.frontend.api.conftest import Frontend

_NOT_HONOURED = "x-drover-not-honoured"
_TRUNCATED = "x-drover-truncated-tokens"
_BODIES: dict[str, dict[str, object]] = {
    "/api/chat": {"model": "m", "messages": [{"role": "user", "content": "x"}]},
    "/api/generate": {"model": "m", "prompt": "x"},
}


def _started(*not_honoured: str, truncated_tokens: int = 0) -> pb.GenerateEvent:
    return pb.GenerateEvent(
        started=pb.Started(prompt_ids=[1], not_honoured=not_honoured, truncated_tokens=truncated_tokens)
    )


def _logged(caplog: pytest.LogCaptureFixture) -> dict[str, object]:
    (record,) = [each for each in caplog.records if each.name == "drover.request"]
    fields: dict[str, object] = record.__dict__["fields"]
    return fields


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", sorted(_BODIES))
async def test_not_honoured_fields_and_truncated_tokens(
    frontend: Frontend, caplog: pytest.LogCaptureFixture, path: str, stream: bool
) -> None:
    frontend.worker.steps = [_started("seed", truncated_tokens=7), content("a"), done()]
    options = {"num_gpu": 1, "use_mmap": None, "temperature": 0}

    with caplog.at_level(logging.INFO, "drover.request"):
        answer = await frontend.client.post(
            path, json={**_BODIES[path], "stream": stream, "options": options}
        )

    assert answer.headers[_NOT_HONOURED] == "seed, num_gpu"
    assert answer.headers[_TRUNCATED] == "7"
    logged = _logged(caplog)
    assert logged["not_honoured"] == ["seed", "num_gpu"]
    assert logged["truncated_tokens"] == 7


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", sorted(_BODIES))
async def test_no_header_where_all_is_honoured(
    frontend: Frontend, caplog: pytest.LogCaptureFixture, path: str, stream: bool
) -> None:
    frontend.worker.steps = [_started(), content("a"), done()]

    with caplog.at_level(logging.INFO, "drover.request"):
        answer = await frontend.client.post(path, json={**_BODIES[path], "stream": stream})

    assert answer.status_code == 200
    assert not {_NOT_HONOURED, _TRUNCATED} & set(answer.headers)
    assert not {"not_honoured", "truncated_tokens"} & set(_logged(caplog))


async def test_options_that_the_frontend_ignores_are_named(
    frontend: Frontend,
) -> None:
    frontend.worker.steps = [content("a"), done()]
    options = {"num_batch": 1, "main_gpu": 0, "num_thread": 1, "draft_num_predict": 1, "use_mmap": True}

    answer = await frontend.client.post("/api/chat", json={**_BODIES["/api/chat"], "options": options})

    assert answer.headers[_NOT_HONOURED] == "num_batch, main_gpu, num_thread, draft_num_predict, use_mmap"


async def test_more_context_than_the_model_has_is_not_honoured(frontend: Frontend) -> None:
    frontend.worker.steps = [content("a"), done()]
    body = {**_BODIES["/api/chat"], "options": {"num_ctx": 100_000}}

    answer = await frontend.client.post("/api/chat", json=body)

    assert answer.headers[_NOT_HONOURED] == "num_ctx"


async def test_a_response_that_fails_before_its_first_line_has_no_header(frontend: Frontend) -> None:
    frontend.worker.steps = [_started("seed"), EngineFailed("died")]

    answer = await frontend.client.post("/api/chat", json=_BODIES["/api/chat"])

    assert answer.status_code == 500
    assert _NOT_HONOURED not in answer.headers
