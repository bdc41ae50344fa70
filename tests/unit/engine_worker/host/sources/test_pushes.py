"""Pushes that a registry refuses. tests/system/test_registry.py has the real one."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web

from drover.errors import DroverError, ModelNotFound, NotTransferable, SourceFailed
from drover.v1 import host_pb2
from engine_worker.host.sources import http
from engine_worker.host.sources.allowed import Sources
from engine_worker.host.sources.http import SourceClient
from engine_worker.host.sources.pushes import Pushes
from engine_worker.host.store.store import Store
from tests.unit.engine_worker.host.conftest import PutModel, name

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
HOST = "registry.example"
NAME = f"{HOST}/team/model"


@asynccontextmanager
async def serving(answer: Handler) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def answering(status: int, headers: dict[str, str] | None = None) -> AbstractAsyncContextManager[str]:
    """A registry that has nothing and answers all uploads so."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "HEAD":
            return web.Response(status=404)
        return web.Response(status=status, headers=headers, text="no room")

    return serving(answer)


@dataclass
class Accepting:
    """A registry that takes all. `elsewhere`: where its uploads go; `challenge`: asked for where no
    Authorization is shown; `seen`: those that were; `commit_seconds`: how long the first upload takes to end.
    """

    elsewhere: str = ""
    challenge: str = ""
    commit_seconds: float = 0.0
    seen: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        shown = request.headers.get("Authorization", "")
        self.seen.append(shown)
        await request.read()
        if self.challenge and not shown:
            return web.Response(status=401, headers={"WWW-Authenticate": self.challenge})
        if request.method == "HEAD":
            return web.Response(status=404)
        if request.method == "PUT":
            pause, self.commit_seconds = self.commit_seconds, 0.0
            await asyncio.sleep(pause)
        return web.Response(status=202, headers={"Location": f"{self.elsewhere}/upload"})


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


async def test_an_upload_elsewhere_shows_no_credentials(
    store: Store, put_model: PutModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where there are some for that address: the registry chose it, and not the operator."""
    put_model(NAME)
    other = Accepting(challenge='Basic realm="x"')
    async with serving(other.answer) as elsewhere, serving(Accepting(elsewhere).answer) as url:
        auths = {elsewhere.removeprefix("http://"): {"auth": base64.b64encode(b"robot:secret").decode()}}
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        with pytest.raises(NotTransferable, match="unauthorized"):
            await push(store, url)
    assert other.seen == [""]


async def test_a_registry_may_take_long_for_a_complete_upload(
    store: Store, put_model: PutModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It checks the whole file, or moves it."""
    monkeypatch.setattr(http, "_SILENCE_SECONDS", 1.0)
    put_model(NAME)
    async with serving(Accepting(commit_seconds=1.1).answer) as url:
        assert (await push(store, url))[-1].status == "success"


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
