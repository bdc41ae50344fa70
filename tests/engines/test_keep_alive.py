"""A real worker's model leaves memory and comes back, without a sign but the time that it takes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import grpc
import psutil
import pytest

from drover.durations import NS_PER_SECOND
from drover.errors import DeadlineExceeded, EngineFailed, WorkerDraining
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from engine_worker import default_model
from engine_worker.health import is_serving
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import Process, worker
from tests.support.waiting import until

LLAMACPP = ("--engine", "llamacpp", "--context-length", "512", "--slots", "4")
SIMULATOR = ("--engine", "simulator", "--model", "sim")
# The weights, which are mapped, have 98 MB; the KV cache of 4 x 512 tokens has 47 MB.
_FREED_BYTES = 120_000_000
_QUESTION = pb.GenerateRequest(
    chat=pb.ChatInput(messages=[pb.Message(role="user", content="What is the capital of France?")]),
    sampling=pb.Sampling(temperature=0, max_tokens=12),
)
_EMBED_TEXT = "The cat sat on the mat."


@pytest.fixture(scope="module")
def llamacpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    with worker(tmp_path_factory.mktemp("keep_alive") / "worker.log", *LLAMACPP) as process:
        yield process


@pytest.fixture
async def engine(llamacpp: Process) -> AsyncIterator[EngineClient]:
    async with engine_client(llamacpp.address) as client:
        yield client


class Watcher:
    """Asks for a report in an hour, so whatever comes sooner was sent because something changed."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[pb.WatchLoadRequest, pb.LoadReport]) -> None:
        self._call = call
        self.report = pb.LoadReport()

    async def sees(self, loaded: bool, seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while True:
                report = await self._call.read()
                assert isinstance(report, pb.LoadReport)
                self.report = report
                if report.loaded == loaded:
                    return


@asynccontextmanager
async def watching(engine: EngineClient) -> AsyncIterator[Watcher]:
    call = engine.stub.WatchLoad(pb.WatchLoadRequest(interval_ms=3_600_000))
    try:
        yield Watcher(call)
    finally:
        call.cancel()


async def gone(engine: EngineClient) -> None:
    async with watching(engine) as watcher:
        await engine.stub.Unload(pb.UnloadRequest())
        await watcher.sees(loaded=False)


def question(keep_alive_ns: int | None = None) -> pb.GenerateRequest:
    """A new one each time, since each attempt gets an id."""
    request = pb.GenerateRequest()
    request.CopyFrom(_QUESTION)
    if keep_alive_ns is not None:
        request.keep_alive_ns = keep_alive_ns
    return request


def rss_bytes(process: Process) -> int:
    """Of the worker and of llama.cpp's process."""
    one = psutil.Process(process.pid)
    total = 0
    for each in (one, *one.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return total


@pytest.mark.real_model
async def test_unloading_frees_the_memory_and_the_next_answer_is_the_same(
    llamacpp: Process, engine: EngineClient
) -> None:
    before = await engine.text(question())
    described = await engine.stub.GetModel(pb.GetModelRequest())
    assert not described.pinned
    full_bytes = rss_bytes(llamacpp)
    async with watching(engine) as watcher:
        await watcher.sees(loaded=True)
        assert not (await engine.stub.Unload(pb.UnloadRequest())).loaded
        await watcher.sees(loaded=False)
        assert watcher.report.expires_unix_ns == 0
        await until(lambda: rss_bytes(llamacpp) < full_bytes - _FREED_BYTES, 5, "the memory is free")
        assert await engine.stub.GetModel(pb.GetModelRequest()) == described
        assert is_serving(llamacpp.address)
        after = await engine.text(question())
        await watcher.sees(loaded=True)
    assert after[0] == before[0]
    assert before[1].timings.load_ns == 0
    assert 0 < after[1].timings.load_ns < 30 * NS_PER_SECOND


@pytest.mark.real_model
async def test_many_requests_share_one_load(llamacpp: Process, engine: EngineClient) -> None:
    await gone(engine)
    loads = llamacpp.log_text().count("model loaded")
    answers = await asyncio.gather(*(engine.text(question()) for _ in range(6)))
    assert len({text for text, _ in answers}) == 1
    assert all(done.timings.load_ns for _, done in answers)
    assert llamacpp.log_text().count("model loaded") == loads + 1


@pytest.mark.real_model
async def test_every_call_that_needs_the_model_loads_it(engine: EngineClient) -> None:
    for _ in range(2):
        await gone(engine)
        ids = (await engine.stub.Tokenize(pb.TokenizeRequest(text="Paris"))).ids
        assert (await engine.load()).loaded
        await gone(engine)
        assert (await engine.stub.Detokenize(pb.DetokenizeRequest(ids=ids))).text == "Paris"
        await gone(engine)
        assert "France" in (await engine.stub.Render(pb.RenderRequest(request=question()))).text


@pytest.mark.real_model
async def test_load_says_how_long_it_took_and_how_long_it_stays(engine: EngineClient) -> None:
    await gone(engine)
    first = await engine.stub.Load(pb.LoadRequest(keep_alive_ns=3600 * NS_PER_SECOND))
    second = await engine.stub.Load(pb.LoadRequest())
    assert first.load_ns > 0
    assert second.load_ns == 0
    for answer in (first, second):
        assert 3590 * NS_PER_SECOND < answer.expires_unix_ns - time.time_ns() <= 3600 * NS_PER_SECOND
    assert (await engine.stub.Load(pb.LoadRequest(keep_alive_ns=-1))).expires_unix_ns == 0
    assert (await engine.load()).expires_unix_ns == 0


@pytest.mark.real_model
async def test_a_request_that_wants_it_gone_has_its_answer_first(engine: EngineClient) -> None:
    async with watching(engine) as watcher:
        text, _ = await engine.text(question(keep_alive_ns=0))
        await watcher.sees(loaded=False)
    assert "Paris" in text


@pytest.mark.real_model
async def test_unloading_waits_for_what_runs(engine: EngineClient) -> None:
    async with watching(engine) as watcher:
        request = pb.GenerateRequest(raw="Once upon a time", sampling=pb.Sampling(max_tokens=40))
        request.sampling.ignore_eos = True
        events = aiter(engine.generate(request))
        await anext(events)
        assert (await engine.stub.Unload(pb.UnloadRequest())).loaded
        done = pb.Done()
        async for event in events:
            done = event.done
        assert done.completion_tokens == 40
        await watcher.sees(loaded=False)


@pytest.mark.real_model
async def test_unloading_right_after_a_cancel_does_no_harm(engine: EngineClient) -> None:
    """llama.cpp still works for a request whose client has left."""
    for _ in range(3):
        call = engine.generate(pb.GenerateRequest(raw="word " * 400, sampling=pb.Sampling(max_tokens=50)))
        await until(engine.busy, 10, "it runs")
        call.cancel()
        await gone(engine)
        assert "Paris" in (await engine.text(question()))[0]


@pytest.mark.real_model
async def test_an_embedding_worker_does_the_same(tmp_path: Path) -> None:
    with worker(tmp_path / "w.log", *LLAMACPP, "--task", "embed") as only:
        async with engine_client(only.address) as engine:
            before = await engine.stub.Embed(pb.EmbedRequest(texts=[_EMBED_TEXT]))
            await gone(engine)
            after = await engine.stub.Embed(pb.EmbedRequest(texts=[_EMBED_TEXT], keep_alive_ns=0))
            async with watching(engine) as watcher:
                await watcher.sees(loaded=False)
    assert before.timings.load_ns == 0
    assert after.timings.load_ns > 0
    assert list(after.embeddings[0].values) == pytest.approx(list(before.embeddings[0].values), abs=1e-5)


@pytest.mark.real_model
async def test_a_model_that_cannot_be_loaded_again_is_named_until_it_can(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    shutil.copy2(default_model.gguf_path(), model)
    with worker(tmp_path / "w.log", *LLAMACPP, "--model", str(model)) as only:
        async with engine_client(only.address) as engine:
            before, _ = await engine.text(question())
            await gone(engine)
            model.rename(tmp_path / "elsewhere.gguf")
            for attempt in (engine.text(question()), engine.stub.Load(pb.LoadRequest())):
                with pytest.raises(grpc.aio.AioRpcError, match=r"m\.gguf") as failed:
                    await attempt
                assert isinstance(error_from_status(failed.value), EngineFailed)
            assert not (await engine.load()).loaded
            shutil.copy(tmp_path / "elsewhere.gguf", model)
            with pytest.raises(grpc.aio.AioRpcError, match="has changed"):
                await engine.text(question())
            model.unlink()
            (tmp_path / "elsewhere.gguf").rename(model)
            assert await engine.text(question()) is not None
            assert (await engine.text(question()))[0] == before


@pytest.mark.real_model
async def test_weights_that_llama_cpp_refuses_fail_the_request_and_not_the_worker(tmp_path: Path) -> None:
    model = tmp_path / "m.gguf"
    shutil.copy2(default_model.gguf_path(), model)
    status = model.stat()
    with worker(tmp_path / "w.log", *LLAMACPP, "--model", str(model)) as only:
        async with engine_client(only.address) as engine:
            await gone(engine)
            with model.open("r+b") as file:
                file.write(b"GARBAGE!" * 64)
            os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await engine.text(question())
            assert isinstance(error_from_status(failed.value), EngineFailed)
            assert is_serving(only.address)
        only.signal(signal.SIGTERM)
        assert only.wait() == 0


@pytest.mark.parametrize("flags", [SIMULATOR, pytest.param(LLAMACPP, marks=pytest.mark.real_model)])
async def test_an_idle_model_is_unloaded(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with worker(tmp_path / "w.log", *flags, "--keep-alive", "1s") as only:
        async with engine_client(only.address) as engine, watching(engine) as watcher:
            await watcher.sees(loaded=False)
            _, done = await engine.text(question())
            answered = time.monotonic()
            assert done.timings.load_ns > 0
            await watcher.sees(loaded=True)
            await watcher.sees(loaded=False)
            assert 0.5 < time.monotonic() - answered < 5


async def test_a_wait_beyond_the_limit_is_an_error(tmp_path: Path) -> None:
    slow = ("--sim-load-ms", "1500", "--load-timeout-seconds", "0.3")
    with worker(tmp_path / "w.log", *SIMULATOR, *slow) as only:
        async with engine_client(only.address) as engine, watching(engine) as watcher:
            await gone(engine)
            with pytest.raises(grpc.aio.AioRpcError, match="--load-timeout-seconds") as failed:
                await engine.text(question())
            assert isinstance(error_from_status(failed.value), DeadlineExceeded)
            await watcher.sees(loaded=False)
            await watcher.sees(loaded=True)
            assert (await engine.text(question()))[1].timings.load_ns == 0


async def test_a_worker_that_drains_during_a_load_answers_who_waits(tmp_path: Path) -> None:
    with worker(tmp_path / "w.log", *SIMULATOR, "--sim-load-ms", "800") as only:
        async with engine_client(only.address) as engine:
            await gone(engine)
            waiting = asyncio.ensure_future(engine.text(question()))
            await until(lambda: _waits(engine), 5, "it waits")
            only.signal(signal.SIGTERM)
            _, done = await waiting
            assert done.timings.load_ns > 0
        assert only.wait() == 0


@pytest.mark.parametrize("flags", [("--sim-load-ms", "2000"), ("--sim-load-ms", "2000", "--keep-alive", "0")])
async def test_at_the_drain_timeout_a_load_is_not_waited_for(tmp_path: Path, flags: tuple[str, ...]) -> None:
    with worker(tmp_path / "w.log", *SIMULATOR, *flags, "--drain-grace-seconds", "0.1") as only:
        async with engine_client(only.address) as engine:
            await gone(engine)
            waiting = asyncio.ensure_future(engine.text(question()))
            await until(lambda: _waits(engine), 5, "it waits")
            only.signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError, match="drain timeout reached") as ended:
                await waiting
            assert isinstance(error_from_status(ended.value), WorkerDraining)
        assert only.wait() == 0
    assert "Traceback" not in only.log_text()


@pytest.mark.real_model
async def test_a_signal_during_a_real_load_ends_the_process(tmp_path: Path) -> None:
    with worker(tmp_path / "w.log", *LLAMACPP, "--drain-grace-seconds", "0") as only:
        async with engine_client(only.address) as engine:
            await gone(engine)
            waiting = asyncio.ensure_future(engine.text(question()))
            await until(lambda: _waits(engine), 5, "it waits")
            only.signal(signal.SIGTERM)
            assert isinstance((await asyncio.gather(waiting, return_exceptions=True))[0], Exception | tuple)
        assert only.wait() == 0
    assert "Traceback" not in only.log_text()


async def _waits(engine: EngineClient) -> bool:
    report = await engine.load()
    return report.waiting == 1 and not report.loaded
