"""llama.cpp's process hangs, crashes, or outlives its worker."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc
import psutil
import pytest

from drover.errors import EngineFailed, WorkerDraining
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from engine_worker.engines.llamacpp import llama_process
from engine_worker.health import is_serving
from tests.support.engine_client import EngineClient, engine_client
from tests.support.processes import Process, worker
from tests.support.waiting import until

pytestmark = pytest.mark.real_model
FLAGS = ("--engine", "llamacpp", "--context-length", "512", "--slots", "4")


def llama_of(process: Process) -> psutil.Process | None:
    children = psutil.Process(process.pid).children()
    return children[0] if children else None


def runs_its_program(process: psutil.Process | None) -> bool:
    return process is not None and llama_process.__file__ in process.cmdline()


def is_over(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def begun(engine: EngineClient) -> asyncio.Task[tuple[str, pb.Done]]:
    """A request that waits for the model."""

    async def ask() -> tuple[str, pb.Done]:
        return await engine.text(pb.GenerateRequest(raw="Hello", sampling=pb.Sampling(max_tokens=2)))

    return asyncio.create_task(ask())


async def loads_and_hangs(engine: EngineClient, only: Process) -> psutil.Process:
    """The model is gone, and llama.cpp is stopped while it brings it back."""
    # Stopped before it runs its own program (vfork), it would stop the worker, which waits for just that.
    await until(lambda: runs_its_program(llama_of(only)), 10, "llama.cpp's process is there")
    llama = llama_of(only)
    assert llama is not None
    llama.suspend()
    report = await engine.load()
    assert (report.loaded, report.waiting) == (False, 1)
    return llama


async def gone(engine: EngineClient) -> None:
    async def is_gone() -> bool:
        return not (await engine.load()).loaded

    await engine.stub.Unload(pb.UnloadRequest())
    await until(is_gone, 10, "the model is gone")


async def test_a_worker_answers_other_calls_while_its_model_loads(tmp_path: Path) -> None:
    """However long that takes: xllamacpp holds the interpreter's lock all the time."""
    with worker(tmp_path / "w.log", *FLAGS) as only:
        async with engine_client(only.address) as engine:
            await gone(engine)
            waiting = await begun(engine)
            llama = await loads_and_hangs(engine, only)
            assert is_serving(only.address)
            model = await engine.stub.GetModel(pb.GetModelRequest(), timeout=5)
            assert model.engine_kind == "llamacpp"
            call = engine.stub.WatchLoad(pb.WatchLoadRequest(interval_ms=10), timeout=5)
            reports = [await call.read() for _ in range(5)]
            assert all(isinstance(report, pb.LoadReport) and not report.loaded for report in reports)
            llama.resume()
            assert (await waiting)[1].timings.load_ns > 0


async def test_a_worker_stops_during_a_load_that_hangs(tmp_path: Path) -> None:
    with worker(tmp_path / "w.log", *FLAGS, "--drain-grace-seconds", "0.1") as only:
        async with engine_client(only.address) as engine:
            await gone(engine)
            waiting = await begun(engine)
            llama = await loads_and_hangs(engine, only)
            only.signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await waiting
            assert isinstance(error_from_status(ended.value), WorkerDraining)
        assert only.wait(5) == 0
    assert is_over(llama)
    assert "Traceback" not in only.log_text()


async def test_a_process_that_dies_while_it_loads_fails_the_request_and_not_the_worker(
    tmp_path: Path,
) -> None:
    with worker(tmp_path / "w.log", *FLAGS) as only:
        async with engine_client(only.address) as engine:
            await gone(engine)
            waiting = await begun(engine)
            llama = await loads_and_hangs(engine, only)
            llama.kill()
            with pytest.raises(grpc.aio.AioRpcError, match="signal 9") as failed:
                await waiting
            assert isinstance(error_from_status(failed.value), EngineFailed)
            assert (await (await begun(engine)))[1].timings.load_ns > 0


async def test_a_process_that_dies_later_ends_the_worker_with_the_reason(tmp_path: Path) -> None:
    with worker(tmp_path / "w.log", *FLAGS) as only:
        async with engine_client(only.address) as engine:
            llama = llama_of(only)
            assert llama is not None
            request = pb.GenerateRequest(raw="Once", sampling=pb.Sampling(max_tokens=400, ignore_eos=True))
            events = aiter(engine.generate(request))
            await anext(events)
            llama.kill()
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                async for _ in events:
                    pass
            assert isinstance(error_from_status(failed.value), EngineFailed)
        assert only.wait(10) == 1
    assert "llama.cpp exited unexpectedly (signal 9)" in only.log_text()
    assert "Traceback" not in only.log_text()


def test_signals_to_the_process_group_reach_the_worker_only(tmp_path: Path) -> None:
    with worker(tmp_path / "w.log", *FLAGS) as only:
        llama = llama_of(only)
        assert llama is not None
        llama.send_signal(signal.SIGTERM)
        llama.send_signal(signal.SIGINT)
        assert is_serving(only.address)
        only.signal(signal.SIGTERM)
        assert only.wait(5) == 0
    assert is_over(llama)
    assert "exited unexpectedly" not in only.log_text()


async def test_a_worker_that_is_killed_leaves_no_process_behind(tmp_path: Path) -> None:
    with worker(tmp_path / "w.log", *FLAGS) as only:
        llama = llama_of(only)
        assert llama is not None
        only.popen.kill()
        only.popen.wait()
        await until(lambda: is_over(llama), 5, "llama.cpp's process is gone")
