"""Both tiers as processes, started as an operator would."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from engine_worker.health import is_serving
from frontend.health import is_ok

ROOT = Path(__file__).resolve().parents[2]
# Several of SGLang's engines live side by side in tests, each with a KV cache.
SMALL_CACHE = "--sglang-args=--max-total-tokens 65536"
SGLANG_PYTHON = "DROVER_SGLANG_PYTHON"
# Tests of clients run in an environment that does not have the tiers.
_PYTHON = os.environ.get("DROVER_TEST_PYTHON", sys.executable)
_READY_SECONDS = 60.0
# Three cold imports of torch and SGLang.
_SGLANG_READY_SECONDS = 300.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05


# Below those that the kernel gives to connections and to port 0: nothing else takes one meanwhile.
_FIRST_PORT, _PORTS = 10_000, 20_000
_PORTS_TRIED = itertools.count()


def free_port() -> int:
    """A port that no other test has: those of a session that runs in parallel end on another digit, and each
    session begins at another one. DROVER_TEST_PORT_OFFSET: for a second pytest meanwhile.
    """
    parallel = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    parallel += int(os.environ.get("DROVER_TEST_PORT_OFFSET", "0"))
    while True:
        step = os.getpid() * 97 + next(_PORTS_TRIED)
        port = _FIRST_PORT + (step * 10 + parallel) % _PORTS
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@dataclass
class Process:
    popen: subprocess.Popen[bytes]
    address: str
    log: Path
    ready_seconds: float = _READY_SECONDS
    began: float = field(default_factory=time.monotonic)

    @property
    def pid(self) -> int:
        return self.popen.pid

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait(self, seconds: float = _STOP_SECONDS) -> int:
        return self.popen.wait(seconds)

    def stop(self) -> None:
        if self.popen.poll() is None:
            self.popen.terminate()
            try:
                self.popen.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.popen.kill()
                self.popen.wait()

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")


def _is_for_processes(name: str) -> bool:
    """Settings of the environment that runs the tests are not."""
    if name.startswith("OLLAMA_"):
        return False
    return not name.startswith("DROVER_") or name.startswith("DROVER_TEST_") or name == "DROVER_CACHE"


@contextmanager
def launched(
    command: Sequence[str],
    address: str,
    log: Path,
    python: str = _PYTHON,
    ready_seconds: float = _READY_SECONDS,
    settings: Mapping[str, str] | None = None,
    within: Sequence[str] = (),
    root: Path = ROOT,
) -> Iterator[Process]:
    """`settings` are environment variables; `within`: a command that runs others, as `ip netns exec name`;
    `root`: the tree whose code runs.
    """
    environment = {name: value for name, value in os.environ.items() if _is_for_processes(name)}
    environment |= settings or {}
    with log.open("wb") as output:
        popen = subprocess.Popen(
            [*within, python, *command],
            cwd=root,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    process = Process(popen, address, log, ready_seconds)
    try:
        yield process
    finally:
        process.stop()


@contextmanager
def worker(
    log: Path,
    *flags: str,
    ready: bool = True,
    address: str = "",
    module: str = "engine_worker",
    within: Sequence[str] = (),
    root: Path = ROOT,
    python: str = _PYTHON,
) -> Iterator[Process]:
    """A worker with SGLang runs in SGLang's environment."""
    address = address or f"127.0.0.1:{free_port()}"
    command = ["-m", module, "--listen", address, *flags]
    is_sglang = "sglang" in flags
    python = sglang_python() if is_sglang else python
    limit = _SGLANG_READY_SECONDS if is_sglang else _READY_SECONDS
    with launched(command, address, log, python, limit, within=within, root=root) as process:
        if ready:
            wait_until_ready(process, lambda: is_serving(address))
        yield process


def sglang_python() -> str:
    """Set by `make test-sglang`."""
    return os.environ[SGLANG_PYTHON]


@contextmanager
def frontend(
    log: Path,
    workers: Sequence[str],
    *flags: str,
    ready: bool = True,
    address: str = "",
    root: Path = ROOT,
    python: str = _PYTHON,
) -> Iterator[Process]:
    address = address or f"127.0.0.1:{free_port()}"
    command = ["-m", "frontend", "--listen", address, "--workers", ",".join(workers), *flags]
    if "--database-url" not in flags:
        # Frontends with logs in the same folder share their presets.
        command += ["--database-url", f"sqlite:///{log.parent / 'presets.sqlite3'}"]
    with launched(command, address, log, python, root=root) as process:
        path = "/readyz" if ready else "/healthz"
        wait_until_ready(process, lambda: is_ok(f"http://{address}{path}"))
        yield process


@dataclass
class Stack:
    worker: Process
    frontend: Process

    @property
    def url(self) -> str:
        return f"http://{self.frontend.address}"


@contextmanager
def stack(
    folder: Path,
    worker_flags: Sequence[str] = (),
    frontend_flags: Sequence[str] = (),
    root: Path = ROOT,
    python: str = _PYTHON,
) -> Iterator[Stack]:
    """One worker and one frontend, ready: the code of `root`, run by `python`."""
    with ExitStack() as processes:
        one = processes.enter_context(worker(folder / "worker.log", *worker_flags, root=root, python=python))
        other = processes.enter_context(
            frontend(folder / "frontend.log", [one.address], *frontend_flags, root=root, python=python)
        )
        yield Stack(one, other)


def wait_until_ready(process: Process, ready: Callable[[], bool]) -> None:
    limit = process.ready_seconds
    deadline = time.monotonic() + limit
    while not ready():
        if process.popen.poll() is not None:
            raise AssertionError(f"ended with {process.popen.returncode}:\n{process.log_text()}")
        if time.monotonic() > deadline:
            raise AssertionError(f"not ready within {limit} s:\n{process.log_text()}")
        time.sleep(_POLL_SECONDS)
