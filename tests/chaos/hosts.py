"""Two worker hosts and two frontends as processes, and simulated models: each host has memory for half."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.clients import Crowd, Seen
from tests.support.hosts import host, put_simulated, worker_pids
from tests.support.processes import Process, frontend

MODELS = ("one", "two", "three", "four")
# Two of four on each.
FLAGS = ("--memory-mib", "250", "--min-residency-seconds", "0.5", "--drain-seconds", "5")
LOAD_MS = 700
TOKENS = 60
SIMULATOR = (
    *("--sim-load-ms", str(LOAD_MS)),
    *("--sim-answer-tokens-min", str(TOKENS), "--sim-answer-tokens-max", str(TOKENS)),
)
SECONDS = 60.0


@dataclass
class Hosts:
    folder: Path
    stores: list[Path]
    hosts: list[Process]
    frontends: list[Process]
    processes: ExitStack = field(repr=False)

    def url(self, number: int = 0) -> str:
        return f"http://{self.frontends[number].address}"

    def pids(self, number: int) -> list[int]:
        return worker_pids(self.stores[number])

    def crowds(self, requests: int) -> list[Crowd]:
        """Each frontend gets so many, for all models in turn."""
        crowds = [Crowd(self.url(number)) for number in range(len(self.frontends))]
        for crowd in crowds:
            crowd.send([request(MODELS[number % len(MODELS)]) for number in range(requests)])
        return crowds

    def kill(self, number: int) -> None:
        self.hosts[number].signal(signal.SIGKILL)
        self.hosts[number].wait()

    def restart(self, number: int, *flags: str) -> None:
        log, address = self.folder / f"host{number}-again.log", self.hosts[number].address
        self.hosts[number] = self.processes.enter_context(
            host(log, self.stores[number], *FLAGS, *flags, address=address)
        )


@contextmanager
def running_hosts(folder: Path) -> Iterator[Hosts]:
    stores = [folder / "store0", folder / "store1"]
    with ExitStack() as processes:
        hosts = []
        for number, store in enumerate(stores):
            put_simulated(store, MODELS, 100, *SIMULATOR)
            hosts.append(processes.enter_context(host(folder / f"host{number}.log", store, *FLAGS)))
        addresses = ",".join(each.address for each in hosts)
        frontends = [
            processes.enter_context(frontend(folder / f"frontend{number}.log", [], "--hosts", addresses))
            for number in range(2)
        ]
        yield Hosts(folder, stores, hosts, frontends, processes)
    for store in stores:
        for pid in worker_pids(store):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def request(model: str) -> dict[str, object]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": "a story"}],
        "options": {"temperature": 0, "num_predict": TOKENS},
    }


async def all_whole(crowds: list[Crowd]) -> list[Seen]:
    seen = [each for crowd in crowds for each in await crowd.all_seen()]
    assert [(each.status, each.error) for each in seen if not each.is_whole] == []
    return seen
