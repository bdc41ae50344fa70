"""Two hosts with a store each, and the frontends before them, as processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pool.workload import Workload
from engine_worker.host.plan import most_worth_seconds
from tests.support.hosts import host, worker_pids
from tests.support.processes import frontend

HOSTS = 2


@dataclass(frozen=True, slots=True)
class Residency:
    """--min-residency-seconds and --min-residency-loads of the hosts."""

    seconds: float
    loads: float

    @property
    def flags(self) -> Sequence[str]:
        return (
            *("--min-residency-seconds", str(self.seconds)),
            *("--min-residency-loads", str(self.loads)),
        )

    def busy_seconds(self, load_seconds: float, waiting: int) -> float:
        """How long a model stays that always has requests while so many others wait (docs/hosts.md)."""
        return max(self.seconds, min(self.loads * load_seconds, most_worth_seconds(waiting)))


@dataclass(frozen=True, slots=True)
class Server:
    """A host, and where requests for it go: a frontend of its own, or one that all hosts share."""

    frontend: str
    host: str
    pid: int
    store: Path


@contextmanager
def fleet(
    folder: Path, workload: Workload, residency: Residency, is_shared: bool
) -> Iterator[Sequence[Server]]:
    """`is_shared`: one frontend for all hosts."""
    flags = ("--memory-mib", str(workload.budget_mib), *residency.flags)
    stores = [folder / f"store-{number}" for number in range(HOSTS)]
    with ExitStack() as owned:
        owned.callback(_end_workers, stores)
        hosts = []
        for number, store in enumerate(stores):
            workload.put(store)
            log = folder / f"host-{number}.log"
            hosts.append(owned.enter_context(host(log, store, *flags, *workload.host_flags)))
        groups = [hosts] if is_shared else [[each] for each in hosts]
        addresses = [
            owned.enter_context(
                frontend(
                    folder / f"frontend-{number}.log",
                    [],
                    *("--hosts", ",".join(each.address for each in group)),
                    *("--database-url", f"sqlite:///{folder / f'frontend-{number}.sqlite3'}"),
                )
            ).address
            for number, group in enumerate(groups)
        ]
        yield [
            Server(addresses[0 if is_shared else number], each.address, each.pid, stores[number])
            for number, each in enumerate(hosts)
        ]


def _end_workers(stores: Sequence[Path]) -> None:
    """A host that is killed leaves them."""
    for pid in (pid for store in stores for pid in worker_pids(store)):
        os.kill(pid, signal.SIGKILL)
