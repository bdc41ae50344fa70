"""The life of a worker with SGLang, as an operator sees it."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from pathlib import Path

import grpc
import psutil
import pytest

from drover.errors import EngineFailed, WorkerDraining
from drover.rpc import error_from_status
from drover.v1 import engine_pb2 as pb
from engine_worker.health import is_serving
from tests.support.answers import rest_of
from tests.support.engine_client import engine_client
from tests.support.processes import Process, free_port, worker
from tests.support.waiting import until


def story(tokens: int) -> pb.GenerateRequest:
    return pb.GenerateRequest(raw="Once", sampling=pb.Sampling(max_tokens=tokens, ignore_eos=True))


def children_of(process: Process) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def lines_of(process: Process) -> list[dict[str, object]]:
    """Its own log; SGLang's processes write lines of their own next to it."""
    lines = [line for line in process.log_text().splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines]


async def test_a_drain_finishes_short_responses_and_ends_the_rest_with_an_error(
    thinker_model: Path, tmp_path: Path
) -> None:
    flags = ("--engine", "sglang", "--model", str(thinker_model), "--drain-grace-seconds", "4")
    with worker(tmp_path / "w.log", *flags) as only:
        children = children_of(only)
        assert len(children) >= 2
        async with engine_client(only.address) as engine:
            short, long = engine.generate(story(100)), engine.generate(story(4000))
            await asyncio.gather(short.read(), long.read())
            only.signal(signal.SIGTERM)
            await until(lambda: not is_serving(only.address), 2, "not ready at once")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await engine.text(story(1))
            assert isinstance(error_from_status(refused.value), WorkerDraining)
            assert (await rest_of(short))[-1].done.completion_tokens == 100
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                await rest_of(long)
            assert isinstance(error_from_status(ended.value), WorkerDraining)
            assert "drain timeout reached" in str(ended.value.details())
        assert only.wait() == 0
        assert not [child for child in children if _lives(child)]
        assert lines_of(only)[-1]["message"] == "stopped"
        assert "Traceback" not in only.log_text()


@pytest.mark.parametrize("ranks", [1, 2])
async def test_a_dead_scheduler_ends_the_worker_with_a_reason(
    thinker_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranks: int
) -> None:
    """With two ranks a controller stands between the worker and its schedulers."""
    if ranks == 2:
        monkeypatch.setenv("SGLANG_CPU_OMP_THREADS_BIND", "0|1")
    # Each rank counts what others, and other programs, take while it starts as taken by its weights.
    sglang = f"--sglang-args=--dp-size {ranks} --max-total-tokens 65536 --mem-fraction-static 0.6"
    flags = ("--engine", "sglang", "--model", str(thinker_model), sglang)
    with worker(tmp_path / "w.log", *flags) as only:
        scheduler = next(child for child in children_of(only) if "scheduler" in " ".join(child.cmdline()))
        async with engine_client(only.address) as engine:
            call = engine.generate(story(4000))
            await call.read()
            scheduler.kill()
            began = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as broken:
                await rest_of(call)
            assert isinstance(error_from_status(broken.value), EngineFailed)
            assert time.monotonic() - began < 2
        assert only.wait(15) == 1
        last = lines_of(only)[-1]
        assert last["message"] == "stopped: the engine failed"
        assert "SGLang" in str(last["reason"])
        if ranks == 1:
            assert "SIGKILL" in str(last["reason"])


async def test_a_killed_worker_leaves_no_process(thinker_model: Path, tmp_path: Path) -> None:
    with worker(tmp_path / "w.log", "--engine", "sglang", "--model", str(thinker_model)) as only:
        children = children_of(only)
        only.popen.kill()
        await until(lambda: not any(_lives(child) for child in children), 10, "SGLang's processes are gone")


async def test_a_signal_while_the_model_loads_ends_the_worker(thinker_model: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    flags = ("--engine", "sglang", "--model", str(thinker_model))
    with worker(tmp_path / "w.log", *flags, ready=False, address=address) as only:
        await until(lambda: is_serving(address, ""), 60, "alive while it loads")
        await until(lambda: len(children_of(only)) >= 2, 120, "SGLang starts its processes")
        children = children_of(only)
        only.signal(signal.SIGTERM)
        assert only.wait(10) == 0
        await until(lambda: not any(_lives(child) for child in children), 10, "SGLang's processes are gone")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--model", "/no/such/folder"), "there is no such folder"),
        (("--sglang-args=--no-such-flag 1",), "SGLang does not accept its flags"),
        (("--sglang-args=--model-path x",), "Drover has --model for it"),
        (("--sglang-args=--tp-size x",), "invalid int value"),
    ],
)
def test_a_wrong_setting_ends_the_start_with_advice(
    tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    with worker(tmp_path / "w.log", "--engine", "sglang", *flags, ready=False) as only:
        assert only.wait(120) != 0
        assert said in only.log_text()
        assert "Traceback" not in only.log_text()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
