"""Start, readiness, drain and stop of both tiers."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import grpc
import httpx
import psutil
import pytest
from grpc_reflection.v1alpha import reflection_pb2

from drover.rpc import SERVICE_NAME
from drover.v1 import engine_pb2 as pb
from engine_worker.health import is_serving
from frontend.health import is_ok
from tests.support.engine_client import engine_client
from tests.support.processes import (
    ROOT,
    free_port,
    frontend,
    launched,
    stack,
    worker,
)
from tests.support.waiting import until, wait_until

SIMULATOR = ("--engine", "simulator", "--model", "sim")


async def test_the_service_is_healthy_only_after_the_model_answered(tmp_path: Path) -> None:
    """The empty name says alive at once; the service's name says ready after the warm-up."""
    address = f"127.0.0.1:{free_port()}"
    slow = ("--sim-prefill-tokens-per-second", "2", "--sim-prefill-chunk-tokens", "1")
    with worker(tmp_path / "w.log", *SIMULATOR, *slow, ready=False, address=address):
        await until(lambda: is_serving(address, ""), 20, "alive")
        assert not is_serving(address, SERVICE_NAME)
        async with engine_client(address) as engine:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await engine.text(pb.GenerateRequest(raw="x"))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        await until(lambda: is_serving(address, SERVICE_NAME), 20, "ready")


def test_reflection_lists_the_services(tmp_path: Path) -> None:
    with worker(tmp_path / "w.log", *SIMULATOR) as only, grpc.insecure_channel(only.address) as channel:
        info = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
            response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
        )
        answer = next(info(iter([reflection_pb2.ServerReflectionRequest(list_services="")]), timeout=5))
        names = {service.name for service in answer.list_services_response.service}
    assert {SERVICE_NAME, "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_both_tiers_stop_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    with stack(tmp_path, SIMULATOR) as running:
        for process in (running.frontend, running.worker):
            process.signal(number)
            assert process.wait() == 0
            assert "Traceback" not in process.log_text()
            assert '"stopped"' in process.log_text()


@pytest.mark.real_model
def test_a_signal_while_the_model_loads_ends_the_worker(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with worker(tmp_path / "w.log", ready=False, address=address) as only:
        deadline = time.monotonic() + 20
        while "listening" not in only.log_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        only.signal(signal.SIGTERM)
        assert only.wait(5) == 0
    assert '"ready"' not in only.log_text()
    assert "Traceback" not in only.log_text()


def test_a_signal_during_the_frontends_start_ends_it(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    command = ["-m", "frontend", "--listen", address, "--workers", "127.0.0.1:1"]
    with launched(command, address, tmp_path / "f.log") as process:
        deadline = time.monotonic() + 10
        while "listening" not in process.log_text():
            assert time.monotonic() < deadline
            time.sleep(0.001)
        process.signal(signal.SIGTERM)
        assert process.wait(5) == 0


async def test_a_draining_worker_finishes_its_streams_and_takes_no_more(tmp_path: Path) -> None:
    flags = (
        "--sim-answer-tokens-min",
        "60",
        "--sim-answer-tokens-max",
        "60",
        "--sim-decode-step-base-ms",
        "20",
    )
    with worker(tmp_path / "w.log", *SIMULATOR, *flags) as only:
        async with engine_client(only.address) as engine:
            call = engine.generate(pb.GenerateRequest(raw="hello", sampling=pb.Sampling(temperature=0)))
            events = aiter(call)
            await anext(events)
            only.signal(signal.SIGTERM)
            await until(lambda: not is_serving(only.address), 2, "not ready")
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await engine.text(pb.GenerateRequest(raw="late"))
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            done = pb.Done()
            async for event in events:
                done = event.done
            assert done.finish_reason == pb.Done.STOP
        assert only.wait() == 0


async def test_at_the_drain_timeout_streams_end_with_a_reason(tmp_path: Path) -> None:
    flags = ("--sim-stall-decode-after-tokens", "2", "--drain-grace-seconds", "0.3")
    with worker(tmp_path / "w.log", *SIMULATOR, *flags) as only:
        async with engine_client(only.address) as engine:
            call = engine.generate(pb.GenerateRequest(raw="hello"))
            events = aiter(call)
            await anext(events)
            only.signal(signal.SIGTERM)
            with pytest.raises(grpc.aio.AioRpcError, match="drain timeout reached") as ended:
                async for _ in events:
                    pass
            assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
        assert only.wait() == 0


async def test_abort_ends_a_request_and_is_idempotent(tmp_path: Path) -> None:
    with worker(tmp_path / "w.log", *SIMULATOR, "--sim-stall-decode-after-tokens", "2") as only:
        async with engine_client(only.address) as engine:
            request = pb.GenerateRequest(raw="hello")
            call = engine.generate(request)
            events = aiter(call)
            await anext(events)
            abort = pb.AbortRequest(request_id=request.request_id)
            assert (await engine.stub.Abort(abort)).found
            with pytest.raises(grpc.aio.AioRpcError) as ended:
                async for _ in events:
                    pass
            assert ended.value.code() is grpc.StatusCode.CANCELLED
            await until(engine.idle, 1, "the slot is free")
            assert not (await engine.stub.Abort(abort)).found


def test_the_frontend_is_light(tmp_path: Path) -> None:
    """Starts in under 2 s and stays under 150 MB, without torch or a tokenizer."""
    address = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    command = ["-m", "frontend", "--listen", address, "--workers", "127.0.0.1:1"]
    with launched(command, address, tmp_path / "f.log") as process:
        while not is_ok(f"http://{address}/healthz"):
            assert time.monotonic() - began < 10
            time.sleep(0.01)
        took_seconds = time.monotonic() - began
        rss_bytes = psutil.Process(process.pid).memory_info().rss
    assert took_seconds < 2
    assert rss_bytes < 150 * 1024 * 1024


@pytest.mark.parametrize("module", ["torch", "transformers", "tokenizers", "gguf", "numpy", "xllamacpp"])
def test_the_frontend_imports_no_model_code(module: str) -> None:
    code = f"import frontend.__main__, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


@pytest.mark.parametrize("tier", ["engine_worker", "frontend"])
def test_a_port_in_use_ends_the_start_with_advice(tmp_path: Path, tier: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        flags = SIMULATOR if tier == "engine_worker" else ()
        with launched(["-m", tier, "--listen", address, *flags], address, tmp_path / "log") as process:
            assert process.wait(20) == 1
    assert "port in use" in process.log_text()
    assert "--listen" in process.log_text()


def test_a_missing_template_file_ends_the_start_with_its_name(tmp_path: Path) -> None:
    command = ["-m", "engine_worker", "--listen", "127.0.0.1:0", "--chat-template", "/nowhere/x.jinja"]
    with launched(command, "", tmp_path / "log") as process:
        assert process.wait(20) == 1
    assert "--chat-template /nowhere/x.jinja" in process.log_text()
    assert "Traceback" not in process.log_text()


def test_a_missing_model_file_ends_the_start_with_advice(tmp_path: Path) -> None:
    command = ["-m", "engine_worker", "--listen", "127.0.0.1:0", "--model", str(tmp_path / "none.gguf")]
    with launched(command, "", tmp_path / "log") as process:
        assert process.wait(20) == 1
    assert "there is no such file" in process.log_text()


def test_two_workers_share_the_requests(tmp_path: Path) -> None:
    with worker(tmp_path / "1.log", *SIMULATOR) as one, worker(tmp_path / "2.log", *SIMULATOR) as two:
        addresses = [one.address, two.address]
        with frontend(tmp_path / "f.log", addresses, "--policy", "round_robin") as front:
            deadline = time.monotonic() + 5
            while front.log_text().count("worker joined") < 2:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            texts = {
                httpx.post(
                    f"http://{front.address}/api/generate",
                    json={"model": "sim", "prompt": "x", "stream": False, "options": {"temperature": 0}},
                ).json()["response"]
                for _ in range(4)
            }
        assert len(texts) == 1
        assert all("drover.worker.request" in process.log_text() for process in (one, two))


def test_a_worker_reachable_from_outside_logs_a_warning_with_the_flag(tmp_path: Path) -> None:
    port = free_port()
    metrics = f"0.0.0.0:{free_port()}"
    with worker(
        tmp_path / "w.log", *SIMULATOR, "--metrics-listen", metrics, address=f"0.0.0.0:{port}"
    ) as only:
        warnings = [line for line in only.log_text().splitlines() if "OPEN TO THE NETWORK" in line]
    assert len(warnings) == 2
    assert f"0.0.0.0:{port}" in warnings[0]
    assert "--listen (DROVER_WORKER_LISTEN)" in warnings[0]
    assert metrics in warnings[1]
    assert "--metrics-listen (DROVER_WORKER_METRICS_LISTEN)" in warnings[1]


@pytest.mark.parametrize(("host", "warnings"), [("0.0.0.0", 1), ("127.0.0.1", 0)])
def test_a_frontend_reachable_from_outside_logs_a_warning(tmp_path: Path, host: str, warnings: int) -> None:
    port = free_port()
    database = f"sqlite:///{tmp_path / 'presets.sqlite3'}"
    command = ["-m", "frontend", "--listen", f"{host}:{port}", "--database-url", database]
    with launched(command, f"127.0.0.1:{port}", tmp_path / "f.log") as process:
        wait_until(lambda: is_ok(f"http://127.0.0.1:{port}/healthz"), 20, "the frontend serves")
        assert process.log_text().count("OPEN TO THE NETWORK") == warnings
