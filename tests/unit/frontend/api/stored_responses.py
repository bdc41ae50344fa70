"""Requests to /v1/responses where responses are stored."""

from __future__ import annotations

from typing import Any

from tests.fakes.stalling_worker import content, done, started
from tests.support.waiting import until
from tests.unit.frontend.api.conftest import DEADLINE_SECONDS, Frontend

BODY: dict[str, Any] = {"model": "m", "input": "Count to seven."}
ANSWER = [started(), content("1 "), content("2"), done()]
Json = dict[str, Any]


async def created(frontend: Frontend, **more: object) -> Json:
    answer = await frontend.client.post("/v1/responses", json={**BODY, **more})
    assert answer.status_code == 200, answer.text
    body: Json = answer.json()
    return body


async def got(frontend: Frontend, path: str, status: int = 200, **query: object) -> Json:
    answer = await frontend.client.get(f"/v1/responses/{path}", params=query)  # type: ignore[arg-type] # httpx's
    assert answer.status_code == status, answer.text
    body: Json = answer.json()
    return body


async def until_status(frontend: Frontend, response_id: str, status: str) -> Json:
    async def reached() -> bool:
        return bool((await got(frontend, response_id))["status"] == status)

    await until(reached, DEADLINE_SECONDS, f"the response is {status}")
    return await got(frontend, response_id)
