"""A worker to derive presets from, and requests that create them."""

from __future__ import annotations

import json

import httpx

from drover.v1 import engine_pb2 as pb
from tests.fakes.stalling_worker import StallingWorker, content, done, started
from tests.unit.frontend.api.conftest import Frontend

PIRATE = {
    "model": "Pirate",
    "from": "m",
    "system": "Be a pirate.",
    "template": "{{ .System }}{{ .Prompt }}",
    "parameters": {"temperature": 0.3, "stop": ["A", "B"], "num_predict": 7},
    "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
    "license": ["L1", "L2"],
    "stream": False,
}
_SAYS_HI = (started(), content("hi"), done())
HELLO = [{"role": "user", "content": "hello"}]


def worker(**described: object) -> StallingWorker:
    model = pb.Model(
        names=["m:latest"],
        digest="ab" * 32,
        size_bytes=1000,
        context_length=4096,
        template="{{ jinja }}",
        licenses=["MIT"],
        capabilities=pb.Capabilities(completion=True, tools=True, vision=True, go_template=True),
        defaults=pb.Sampling(top_p=0.5, temperature=1),
        modified_unix_ns=1,
        **described,  # type: ignore[arg-type]  # mypy cannot type fields in **
    )
    return StallingWorker(described=model, steps=_SAYS_HI)


async def post(frontend: Frontend, path: str, **body: object) -> httpx.Response:
    return await frontend.client.post(path, content=json.dumps(body))


async def create(frontend: Frontend, **body: object) -> None:
    response = await post(frontend, "/api/create", **{**PIRATE, **body})
    assert (response.status_code, response.json()) == (200, {"status": "success"})


async def delete(frontend: Frontend, **body: object) -> httpx.Response:
    return await frontend.client.request("DELETE", "/api/delete", content=json.dumps(body))


async def names(frontend: Frontend) -> list[str]:
    return [model["name"] for model in (await frontend.client.get("/api/tags")).json()["models"]]
