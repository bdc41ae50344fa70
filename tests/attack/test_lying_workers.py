"""A worker that sends garbage in each phase, next to one that works."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import grpc
import httpx
import pytest

from drover.rpc import SERVER_OPTIONS, SERVICE_NAME
from drover.v1 import engine_pb2 as pb
from tests.attack.figures import Figures
from tests.attack.scene import SHORT, WORKER, Attack, Scene, measured
from tests.chaos.fleet import Fleet
from tests.support.processes import frontend, worker

Lines = AsyncIterator[bytes]
_GARBAGE = bytes(range(255, 0, -1)) * 4
_FLAGS = (*SHORT, "--request-timeout-seconds", "4", "--stall-seconds", "2", "--move-wait-seconds", "1")
_REQUESTS = 40
_MODEL = pb.Model(
    names=["liar:latest"],
    digest="a" * 64,
    context_length=4096,
    capabilities=pb.Capabilities(completion=True),
    modified_unix_ns=1,
)
_STARTED = pb.GenerateEvent(started=pb.Started(prompt_ids=[1])).SerializeToString()
_TEXT = pb.GenerateEvent(deltas=[pb.Delta(content="x")]).SerializeToString()
_DONE = pb.GenerateEvent(
    done=pb.Done(finish_reason=pb.Done.STOP, prompt_tokens=1, completion_tokens=1)
).SerializeToString()
_NO_UTF8 = _TEXT.replace(b"x", b"\xff")
_ENDLESS = 2_000


async def _events(*events: bytes, hangs: bool = False) -> Lines:
    for event in events:
        yield event
    if hangs:
        await asyncio.sleep(60)


async def _flood(event: bytes) -> Lines:
    yield _STARTED
    for _ in range(_ENDLESS):
        yield event


_ANSWERS: dict[str, Callable[[], Lines]] = {
    "garbage first": lambda: _events(_GARBAGE),
    "garbage after the start": lambda: _events(_STARTED, _GARBAGE),
    "garbage after text": lambda: _events(_STARTED, _TEXT, _GARBAGE),
    "garbage after the end": lambda: _events(_STARTED, _TEXT, _DONE, _GARBAGE),
    "nothing": _events,
    "empty messages": lambda: _events(b"", b"", b""),
    "no start": lambda: _events(_TEXT, _DONE),
    "the end first": lambda: _events(_DONE),
    "two ends": lambda: _events(_STARTED, _DONE, _DONE),
    "two starts": lambda: _events(_STARTED, _STARTED, _TEXT, _DONE),
    "text after the end": lambda: _events(_STARTED, _DONE, _TEXT, _TEXT),
    "no end": lambda: _events(_STARTED, _TEXT),
    "hangs at once": lambda: _events(hangs=True),
    "hangs after text": lambda: _events(_STARTED, _TEXT, hangs=True),
    "hangs after the end": lambda: _events(_STARTED, _TEXT, _DONE, hangs=True),
    "no UTF-8": lambda: _events(_STARTED, _NO_UTF8, _DONE),
    "long texts": lambda: _flood(
        pb.GenerateEvent(deltas=[pb.Delta(content="x" * 65536)]).SerializeToString()
    ),
    "short texts": lambda: _flood(_TEXT),
    "no texts": lambda: _flood(b""),
}


class Liar:
    """`model` and `report`: the bytes of each; `answer`: of a generation."""

    def __init__(self, model: bytes, report: bytes, answer: Callable[[], Lines]) -> None:
        self._model = model
        self._report = report
        self._answer = answer
        self._server = grpc.aio.server(options=SERVER_OPTIONS)
        self._server.add_generic_rpc_handlers(
            [
                grpc.method_handlers_generic_handler(
                    SERVICE_NAME,
                    {
                        "GetModel": grpc.unary_unary_rpc_method_handler(self._get_model),
                        "WatchLoad": grpc.unary_stream_rpc_method_handler(self._watch_load),
                        "GenerateStream": grpc.unary_stream_rpc_method_handler(self._generate),
                    },
                )
            ]
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(0)

    async def _get_model(self, request: bytes, context: object) -> bytes:
        return self._model

    async def _watch_load(self, request: bytes, context: object) -> Lines:
        while True:
            yield self._report
            await asyncio.sleep(0.2)

    async def _generate(self, request: bytes, context: object) -> Lines:
        async for event in self._answer():
            yield event


@asynccontextmanager
async def _next_to_a(
    liar: Liar, folder: Path, figures: Figures, rehearsed: Attack | None = None
) -> AsyncIterator[Scene]:
    await liar.start()
    try:
        with ExitStack() as processes:
            flags = ("--engine", "simulator", "--model", "sim", *WORKER)
            good = processes.enter_context(worker(folder / "worker.log", *flags))
            addresses = [good.address, liar.address]
            front = await asyncio.to_thread(
                processes.enter_context, frontend(folder / "frontend.log", addresses, *_FLAGS)
            )
            fleet = Fleet(folder, [good], [front], flags, _FLAGS, processes)
            async with measured(fleet, figures, rehearsed=rehearsed) as scene:
                yield scene
    finally:
        await liar.stop()


async def _ask(url: str, count: int) -> Sequence[tuple[int, str]]:
    """Statuses and what came, streamed and not, in two dialects."""
    body = {"model": "liar", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
        answers = await asyncio.gather(
            *(
                http.post(
                    ("/api/chat", "/v1/chat/completions")[number % 2],
                    json={**body, "stream": bool(number // 2 % 2)},
                )
                for number in range(count)
            )
        )
    return [(answer.status_code, answer.text[-500:]) for answer in answers]


@pytest.mark.parametrize("kind", _ANSWERS)
async def test_answers(tmp_path: Path, figures: Figures, kind: str) -> None:
    """Its clients come twice: what the second ones leave is what leaks."""
    report = pb.LoadReport(running_limit=64, frontends=1).SerializeToString()
    liar = Liar(_MODEL.SerializeToString(), report, _ANSWERS[kind])

    async def rehearse(port: int) -> None:
        await _ask(f"http://127.0.0.1:{port}", _REQUESTS)

    async with _next_to_a(liar, tmp_path, figures, rehearse) as scene:
        seen = await _ask(scene.url, _REQUESTS)
    statuses = sorted({status for status, _ in seen})
    figures.notes.append(f"its clients had {statuses}")
    assert set(statuses) <= {200, 400, 500, 502, 503, 504}


@pytest.mark.parametrize(
    ("model", "report"),
    [
        (_GARBAGE, b""),
        (b"", b""),
        (_MODEL.SerializeToString(), _GARBAGE),
        (_MODEL.SerializeToString().replace(b"liar", b"\xff\xff\xff\xff"), b""),
        (pb.Model(names=[f"n{number}" for number in range(100_000)]).SerializeToString(), b""),
        (pb.Model(names=["../../x", "", " ", "a" * 100_000]).SerializeToString(), b""),
        (_MODEL.SerializeToString(), os.urandom(64)),
        (
            _MODEL.SerializeToString(),
            pb.LoadReport(running_limit=2**31 - 1, waiting_prompt_tokens=2**31 - 1).SerializeToString(),
        ),
    ],
    ids=["model", "no model", "report", "no UTF-8", "many names", "odd names", "noise", "large numbers"],
)
async def test_descriptions(tmp_path: Path, figures: Figures, model: bytes, report: bytes) -> None:
    liar = Liar(model, report, _ANSWERS["nothing"])
    async with _next_to_a(liar, tmp_path, figures) as scene:
        async with httpx.AsyncClient(base_url=scene.url, timeout=30, trust_env=False) as http:
            for path in ("/api/tags", "/api/ps", "/v1/models", "/metrics", "/readyz"):
                assert (await http.get(path)).status_code == 200, path
        await _ask(scene.url, 8)
        await asyncio.sleep(2)
