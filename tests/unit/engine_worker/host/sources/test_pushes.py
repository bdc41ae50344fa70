"""Pushes that a registry refuses. tests/system/test_registry.py has the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from drover.errors import DroverError, ModelNotFound, NotTransferable, SourceFailed
from drover.v1 import host_pb2
from engine_worker.host.sources.allowed import Sources
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.sources.pushes import Pushes
from engine_worker.host.store.store import Store
from tests.unit.engine_worker.host.conftest import PutModel, name

HOST = "registry.example"
NAME = f"{HOST}/team/model"


@asynccontextmanager
async def answering(status: int, headers: dict[str, str] | None = None) -> AsyncIterator[str]:
    """A registry that has nothing and answers all uploads so."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(status=404)
        return web.Response(status=status, headers=headers, text="no room")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def push(store: Store, url: str, text: str = NAME) -> list[host_pb2.Progress]:
    client = SourceClient()
    try:
        sources = Sources(client, frozenset({HOST, "hf.co"}), {HOST: url})
        pushes = Pushes(store, client, sources.registry_of)
        return [step async for step in pushes.push(name(text), insecure=False)]
    finally:
        await client.close()


@pytest.mark.parametrize(
    ("status", "headers", "error", "words"),
    [
        (401, {"WWW-Authenticate": 'Basic realm="x"'}, NotTransferable, "unauthorized"),
        (403, None, NotTransferable, "unauthorized"),
        (413, None, NotTransferable, r"refuses the model \(413\): no room"),
        (507, None, SourceFailed, r"refuses the model \(507\): no room"),
        (202, None, SourceFailed, "names no place"),
    ],
)
async def test_a_registry_that_takes_nothing(
    store: Store,
    put_model: PutModel,
    status: int,
    headers: dict[str, str] | None,
    error: type[DroverError],
    words: str,
) -> None:
    put_model(NAME)
    async with answering(status, headers) as url:
        with pytest.raises(error, match=words):
            await push(store, url)


async def test_a_registry_that_is_away(store: Store, put_model: PutModel) -> None:
    put_model(NAME)
    with pytest.raises(SourceFailed, match="cannot be reached"):
        await push(store, "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("text", "words"),
    [("elsewhere.example/team/model", "pushes nothing to"), ("hf.co/team/model", "no registry")],
)
async def test_where_nothing_is_pushed(store: Store, put_model: PutModel, text: str, words: str) -> None:
    put_model(text)
    with pytest.raises(NotTransferable, match=words):
        await push(store, "http://127.0.0.1:9", text)


async def test_a_model_that_is_not_in_the_store(store: Store) -> None:
    with pytest.raises(ModelNotFound):
        await push(store, "http://127.0.0.1:9")
