"""The gateway smg in front of a stub: an OpenAI server, or the gRPC service of SGLang."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.targets.base import Offer, Target
from benchmarks.targets.numbered_tokenizer import write_tokenizer
from frontend.health import is_ok
from tests.support.processes import Process, free_port, launched
from tests.support.waiting import wait_until

_READY_SECONDS = 60.0
_SETTLE_SECONDS = 2.0
FOLDER = "DROVER_BENCH_BIN"
"""Names the folder of the commands smg and python of an environment that has smg and smg-grpc-proto."""

OVER_HTTP = "smg over HTTP"
OVER_GRPC = "smg over gRPC"


@contextmanager
def smg(folder: Path, offer: Offer) -> Iterator[Sequence[Target]]:
    """Through smg over HTTP and over gRPC, and directly."""
    with ExitStack() as owned:
        stub = owned.enter_context(_http_stub(folder, offer))
        over_http = owned.enter_context(
            _gateway(folder / "http.log", "--worker-urls", f"http://{stub.address}")
        )
        tokenizer = write_tokenizer(folder / "tokenizer")
        servicer = owned.enter_context(_servicer(folder, offer, tokenizer))
        grpc_flags = ("--worker-urls", f"grpc://{servicer.address}", "--model-path", str(tokenizer))
        over_grpc = owned.enter_context(_gateway(folder / "grpc.log", *grpc_flags))
        yield [
            Target(OVER_HTTP, over_http.address, {"gateway": over_http.pid, "stub": stub.pid}, _settled),
            Target(OVER_GRPC, over_grpc.address, {"gateway": over_grpc.pid, "stub": servicer.pid}, _settled),
            Target("HTTP stub alone", stub.address, {"stub": stub.pid}, _settled),
        ]


async def _settled() -> None:
    await asyncio.sleep(_SETTLE_SECONDS)


@contextmanager
def _http_stub(folder: Path, offer: Offer) -> Iterator[Process]:
    address = f"127.0.0.1:{(port := free_port())}"
    command = ["-m", "benchmarks.targets.openai_app", str(port), str(offer.step_ms), str(offer.tokens)]
    with launched(command, address, folder / "stub.log") as process:
        _wait(process, lambda: is_ok(f"http://{address}/health"))
        yield process


@contextmanager
def _servicer(folder: Path, offer: Offer, tokenizer: Path) -> Iterator[Process]:
    address = f"127.0.0.1:{(port := free_port())}"
    command = ["-m", "benchmarks.targets.smg_servicer", str(port), str(offer.step_ms), str(offer.tokens)]
    with launched(
        [*command, str(tokenizer)], address, folder / "servicer.log", _command("python")
    ) as process:
        _wait(process, lambda: _accepts(port))
        yield process


@contextmanager
def _gateway(log: Path, *flags: str) -> Iterator[Process]:
    address = f"127.0.0.1:{(port := free_port())}"
    command = ["launch", "--host", "127.0.0.1", "--port", str(port), *flags]
    command += ["--policy", "round_robin", "--log-level", "warn"]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
    with launched(command, address, log, _command("smg")) as process:
        _wait(process, lambda: is_ok(f"http://{address}/readiness"))
        yield process


def _command(name: str) -> str:
    return str(Path(os.environ[FOLDER]) / name)


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _wait(process: Process, ready: Callable[[], bool]) -> None:
    wait_until(
        lambda: process.popen.poll() is not None or ready(), _READY_SECONDS, f"{process.log} says it is ready"
    )
    if process.popen.poll() is not None:
        raise RuntimeError(f"it ended with {process.popen.returncode}:\n{process.log_text()}")
