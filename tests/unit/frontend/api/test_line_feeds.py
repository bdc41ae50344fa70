"""Errors under /v1 end with a line feed where Ollama's native steps refuse, not where it converts bodies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import worker


@pytest.fixture
async def frontend(start: Start) -> AsyncIterator[Frontend]:
    async with start(worker()) as running:
        yield running


@pytest.mark.parametrize(
    ("path", "body", "status", "message", "line_feed"),
    [
        ("/v1/embeddings", {"model": "m", "input": 5}, 400, "invalid input type", True),
        ("/v1/embeddings", {"model": "m", "input": ["a", 1]}, 400, "invalid input type", True),
        ("/v1/embeddings", {"model": "nope", "input": {}}, 400, "invalid input type", True),
        ("/v1/embeddings", {"model": "m", "input": False}, 400, "invalid input type", True),
        ("/v1/embeddings", None, 400, "invalid input", False),
        ("/v1/embeddings", {"model": "m", "input": []}, 400, "invalid input", False),
        ("/v1/embeddings", {"model": "", "input": "x"}, 404, "model '' not found", True),
        ("/v1/responses", None, 400, "model is required", True),
        ("/v1/responses", {"input": "x"}, 400, "model is required", True),
        ("/v1/responses", {"model": "", "input": "x"}, 400, "model is required", True),
        ("/v1/responses", {"model": "m"}, 400, "input is required", False),
        ("/v1/responses", {"model": "nope", "input": "x"}, 404, "model 'nope' not found", True),
    ],
)
async def test_errors_end_with_a_line_feed_as_upstream(
    frontend: Frontend, path: str, body: object, status: int, message: str, line_feed: bool
) -> None:
    response = await frontend.client.post(path, content=json.dumps(body))

    assert (response.status_code, response.json()["error"]["message"]) == (status, message)
    assert response.text.endswith("\n") == line_feed
