"""A client that leaves while its model waits for a host gives up its place at once, in every dialect."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager

import grpc
import pytest

from drover.v1 import host_pb2, host_pb2_grpc
from tests.support.browser import browser_at
from tests.support.hosts import host, put_simulated, worker_pids
from tests.support.processes import Process, frontend
from tests.support.waiting import until

_SECONDS = 20.0
# The model that has the memory loads for a minute.
_FREED_SECONDS = 2.0
_SLOW = ("--sim-load-ms", "60000")
_MESSAGES = [{"role": "user", "content": "Hello"}]

Document = Mapping[str, object]


def _requests() -> Iterator[tuple[str, Document]]:
    for stream in (True, False):
        yield "/api/generate", {"model": "wanted", "prompt": "Hello", "stream": stream}
        yield "/api/chat", {"model": "wanted", "messages": _MESSAGES, "stream": stream}
        yield "/v1/completions", {"model": "wanted", "prompt": "Hello", "stream": stream}
        yield "/v1/chat/completions", {"model": "wanted", "messages": _MESSAGES, "stream": stream}
        yield "/v1/responses", {"model": "wanted", "input": "Hello", "stream": stream}
        yield (
            "/v1/messages",
            {"model": "wanted", "messages": _MESSAGES, "stream": stream, "max_tokens": 5},
        )
    # An empty request preloads.
    yield "/api/generate", {"model": "wanted"}
    yield "/api/embed", {"model": "embedder", "input": "Hello"}
    yield "/v1/embeddings", {"model": "embedder", "input": ["Hello", "you"]}


class _Watched:
    """The newest state of a host."""

    def __init__(self) -> None:
        self.state = host_pb2.HostState()

    async def follow(self, address: str) -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            async for state in host_pb2_grpc.HostStub(channel).Watch(
                host_pb2.WatchHostRequest(takes_changes=True)
            ):
                self.state = state


@asynccontextmanager
async def _watching(running: Process) -> AsyncIterator[_Watched]:
    watched = _Watched()
    task = asyncio.create_task(watched.follow(running.address))
    try:
        yield watched
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.fixture(scope="module")
def hosted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Process, Process]]:
    """A host with memory for one model, and its frontend."""
    folder = tmp_path_factory.mktemp("hosted")
    store = folder / "store"
    put_simulated(store, ["slow", "wanted"], 100, *_SLOW)
    put_simulated(store, ["embedder"], 100, "--task", "embed", *_SLOW)
    with (
        host(folder / "host.log", store, "--memory-mib", "150") as one,
        frontend(folder / "frontend.log", [], "--hosts", one.address) as front,
    ):
        yield one, front
        for pid in worker_pids(store):
            os.kill(pid, signal.SIGKILL)


async def test_a_client_that_leaves_gives_up_its_place(hosted: tuple[Process, Process]) -> None:
    running, front = hosted
    async with _watching(running) as watched, browser_at(front.address) as first:
        await first.chat("slow", "the one that loads", stream=True)
        await until(lambda: len(watched.state.children) == 1, _SECONDS, "a model loads")
        for path, document in _requests():
            what = f"{path} {document}"
            async with browser_at(front.address) as client:
                await client.post(path, document)
                await until(lambda: len(watched.state.turns) == 1, _SECONDS, f"{what} waits")
                client.leave()
                took = await until(lambda: len(watched.state.turns) == 0, _SECONDS, f"{what} waits no more")
            assert took < _FREED_SECONDS, what


async def test_what_a_frontend_waits_for_ends_with_it(hosted: tuple[Process, Process]) -> None:
    """Also with one that stops to answer: the host must not keep memory for its requests."""
    running, front = hosted
    async with _watching(running) as watched, browser_at(front.address) as first:
        await first.chat("slow", "the one that loads", stream=True)
        await until(lambda: len(watched.state.children) == 1, _SECONDS, "a model loads")
        async with browser_at(front.address) as second:
            await second.chat("wanted", "the one that waits", stream=True)
            await until(lambda: len(watched.state.turns) == 1, _SECONDS, "another one waits")
            front.signal(signal.SIGSTOP)
            try:
                await until(lambda: len(watched.state.turns) == 0, _SECONDS, "it waits no more")
            finally:
                front.signal(signal.SIGCONT)
