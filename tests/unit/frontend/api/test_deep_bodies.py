"""Values that are nested deep and written out again: `make fuzz` found that some ended in an internal error.

Below the limit of what can be written they are taken, above it the request is at fault.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker
from tests.unit.frontend.api.conftest import Frontend, Start
from tests.unit.frontend.api.preset_requests import worker

_NAMED = '"model": "m", "stream": false'
_CHAT = f'{_NAMED}, "messages": [{{"role": "user", "content": "hi"}}]'
_RESPONSE = f'{_NAMED}, "input": "hi"'
_CREATE = '"model": "made", "from": "m", "stream": false'


@pytest.fixture
async def frontend(start: Start) -> AsyncIterator[Frontend]:
    async with start(_able()) as frontend:
        yield frontend


def _able() -> StallingWorker:
    able = worker()
    able.described.capabilities.MergeFrom(pb.Capabilities(json_constraint=True))
    return able


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", f'{_CHAT}, "format": '),
        ("/api/generate", f'{_NAMED}, "prompt": "hi", "format": '),
        ("/api/show", f'{_NAMED}, "options": '),
        ("/api/create", f'{_CREATE}, "parameters": '),
        ("/v1/responses", f'{_RESPONSE}, "metadata": '),
        ("/v1/responses", f'{_RESPONSE}, "text": '),
    ],
)
@pytest.mark.parametrize(
    ("opening", "closing", "levels"),
    [
        ('{"items": ', "}", 1),
        ('{"properties": {"a": ', "}}", 2),
        ('{"anyOf": [', "]}", 2),
        ('{"allOf": [', "]}", 2),
    ],
)
async def test_a_deeply_nested_value_is_no_internal_error(
    frontend: Frontend, path: str, body: str, opening: str, closing: str, levels: int
) -> None:
    statuses = {}
    for depth in (100, 240, 300, 500, 800, 980, 1_000, 1_020, 1_100, 5_000, 20_000):
        repeats = depth // levels
        value = f"{opening * repeats}{{}}{closing * repeats}"
        response = await frontend.client.post(path, content=f"{{{body}{value}}}")
        statuses[depth] = response.status_code
        assert response.status_code == 200 or response.json()["error"]

    assert statuses == {depth: 200 if depth <= 240 else 400 for depth in statuses}
