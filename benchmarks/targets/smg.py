"""The gateway smg with an OpenAI-shaped stub behind it, and the stub alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.targets.base import Offer, Target
from frontend.health import is_ok
from tests.support.processes import Process, free_port, launched
from tests.support.waiting import wait_until

_READY_SECONDS = 60.0
_SETTLE_SECONDS = 2.0
GATEWAY = "DROVER_SMG"


@contextmanager
def smg(folder: Path, offer: Offer) -> Iterator[tuple[Target, Target]]:
    """Through the gateway, and past it. The command of `DROVER_SMG` is run."""
    with ExitStack() as owned:
        stub = owned.enter_context(_stub(folder, offer))
        gateway = owned.enter_context(_gateway(folder, stub.address))
        pids = {"gateway": gateway.pid, "stub": stub.pid}
        yield (
            Target("smg, stub behind it", gateway.address, pids, _settled),
            Target("stub alone", stub.address, {"stub": stub.pid}, _settled),
        )


async def _settled() -> None:
    await asyncio.sleep(_SETTLE_SECONDS)


@contextmanager
def _stub(folder: Path, offer: Offer) -> Iterator[Process]:
    address = f"127.0.0.1:{(port := free_port())}"
    command = ["-m", "benchmarks.targets.openai_app", str(port), str(offer.step_ms), str(offer.tokens)]
    with launched(command, address, folder / "stub.log") as process:
        _wait(process, "/health")
        yield process


@contextmanager
def _gateway(folder: Path, backend: str) -> Iterator[Process]:
    address = f"127.0.0.1:{(port := free_port())}"
    command = ["launch", "--host", "127.0.0.1", "--port", str(port), "--worker-urls", f"http://{backend}"]
    command += ["--policy", "round_robin", "--log-level", "warn"]
    command += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
    with launched(command, address, folder / "smg.log", os.environ[GATEWAY]) as process:
        _wait(process, "/readiness")
        yield process


def _wait(process: Process, path: str) -> None:
    wait_until(
        lambda: process.popen.poll() is not None or is_ok(f"http://{process.address}{path}"),
        _READY_SECONDS,
        f"{process.address}{path} answers: {process.log}",
    )
    if process.popen.poll() is not None:
        raise RuntimeError(f"it ended with {process.popen.returncode}:\n{process.log_text()}")
