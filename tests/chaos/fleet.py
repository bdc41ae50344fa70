"""Workers and frontends as processes, with simulated engines, since the model is not what fails here."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx

from drover.rpc import CHANNEL_OPTIONS
from drover.v1 import engine_pb2 as pb
from drover.v1 import engine_pb2_grpc
from tests.support.processes import Process, frontend, worker
from tests.support.waiting import until

MODEL = "sim"
_JOIN_SECONDS = 30.0
_POLL_SECONDS = 0.05
_CALL_SECONDS = 3.0


@dataclass
class Fleet:
    folder: Path
    workers: list[Process]
    frontends: list[Process]
    worker_flags: Sequence[str]
    frontend_flags: Sequence[str]
    processes: ExitStack = field(repr=False)

    def url(self, number: int = 0) -> str:
        return f"http://{self.frontends[number].address}"

    def restart_worker(self, number: int) -> None:
        """Restart at the same address, as a supervisor does."""
        address = self.workers[number].address
        log = self.folder / f"worker{number}-again-{time.monotonic_ns()}.log"
        self.workers[number] = self.processes.enter_context(worker(log, *self.worker_flags, address=address))

    def restart_frontend(self, number: int) -> None:
        address = self.frontends[number].address
        log = self.folder / f"frontend{number}-again-{time.monotonic_ns()}.log"
        addresses = [each.address for each in self.workers]
        self.frontends[number] = self.processes.enter_context(
            frontend(log, addresses, *self.frontend_flags, address=address)
        )

    def running(self, number: int) -> int:
        """Requests that a worker has, running and waiting."""
        report = load_of(self.workers[number].address)
        return report.running + report.waiting

    def logs(self) -> str:
        return "\n".join(f"--- {each.log.name}\n{each.log_text()[-4000:]}" for each in self.frontends)


def load_of(address: str) -> pb.LoadReport:
    with grpc.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        stub = engine_pb2_grpc.EngineStub(channel)
        reports = stub.WatchLoad(pb.WatchLoadRequest(), timeout=_CALL_SECONDS)
        report: pb.LoadReport = next(iter(reports))
        reports.cancel()
        return report


@contextmanager
def running_fleet(
    folder: Path,
    workers: int,
    frontends: int = 1,
    worker_flags: Sequence[str] = (),
    frontend_flags: Sequence[str] = (),
    engine_flags: Sequence[str] = ("--engine", "simulator", "--model", MODEL),
) -> Iterator[Fleet]:
    flags = (*engine_flags, *worker_flags)
    with ExitStack() as processes:
        started = [
            processes.enter_context(worker(folder / f"worker{number}.log", *flags))
            for number in range(workers)
        ]
        addresses = [each.address for each in started]
        fronts = [
            processes.enter_context(frontend(folder / f"frontend{number}.log", addresses, *frontend_flags))
            for number in range(frontends)
        ]
        fleet = Fleet(folder, started, fronts, flags, frontend_flags, processes)
        for number in range(frontends):
            _wait_until_joined(fleet, number, workers)
        yield fleet


def _wait_until_joined(fleet: Fleet, number: int, workers: int) -> None:
    deadline = time.monotonic() + _JOIN_SECONDS
    while joins(fleet.frontends[number]) < workers:
        if time.monotonic() > deadline:
            raise AssertionError(f"not all workers have joined:\n{fleet.logs()}")
        time.sleep(_POLL_SECONDS)


def joins(front: Process) -> int:
    """How often workers have joined a frontend."""
    return front.log_text().count("worker joined")


async def until_joins(front: Process, count: int, seconds: float) -> float:
    """Seconds until then."""
    return await until(lambda: joins(front) >= count, seconds, f"workers join for the {count}th time")


def is_idle(fleet: Fleet, numbers: Sequence[int]) -> bool:
    return all(fleet.running(number) == 0 for number in numbers)


def ask(url: str, body: dict[str, object]) -> dict[str, object]:
    answer = httpx.post(f"{url}/api/chat", json={"model": MODEL, **body}, timeout=60)
    assert answer.status_code == 200, answer.text
    result: dict[str, object] = answer.json()
    return result
