"""`python -m tests.attack.prober ADDRESS PID SOURCE` requests /api/version until its stdin is closed.

After a short attack it continues to `_LEAST` requests: of few the slowest one would be the 95th percentile.
Then it prints Latencies. It is a process of its own, so that its times are not those of a busy test. Each
question has a new connection.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_EVERY_SECONDS = 0.02
_LEAST = 40
_TIMEOUT_SECONDS = 10.0
_NS_PER_MS = 1e6


@dataclass(frozen=True)
class Latencies:
    """Milliseconds. `wall` as the clock says; `own` without the time in which the frontend or the prober was
    ready to run and had no CPU (/proc/PID/task/*/schedstat), which other processes had on a busy machine.
    """

    count: int
    failed: int
    wall_p50: float
    wall_p99: float
    own_p50: float
    own_p95: float
    own_p99: float
    own_max: float


def main() -> int:
    address, pid, source = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    host, _, port = address.rpartition(":")
    wall: list[float] = []
    own: list[float] = []
    failed = 0
    while not select.select([sys.stdin], [], [], _EVERY_SECONDS)[0] or len(wall) < _LEAST:
        waited = _waited_ns(pid), _waited_ns("self")
        began = time.perf_counter_ns()
        try:
            _ask(host, int(port), source)
        except OSError as error:
            failed += 1
            print(f"prober: {error!r}", file=sys.stderr)  # noqa: T201 - the test's log
        took = time.perf_counter_ns() - began
        late = _most_late(waited[0], _waited_ns(pid)) + _most_late(waited[1], _waited_ns("self"))
        wall.append(took / _NS_PER_MS)
        own.append(max(0, took - late) / _NS_PER_MS)
    figures = Latencies(
        len(wall),
        failed,
        _rank(wall, 0.5),
        _rank(wall, 0.99),
        _rank(own, 0.5),
        _rank(own, 0.95),
        _rank(own, 0.99),
        _rank(own, 1.0),
    )
    print(json.dumps(asdict(figures)))  # noqa: T201 - its result
    return 0


def _ask(host: str, port: int, source: str) -> None:
    with socket.create_connection((host, port), _TIMEOUT_SECONDS, (source, 0)) as connection:
        connection.sendall(b"GET /api/version HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    if not answer.startswith(b"HTTP/1.1 200 "):
        raise OSError(f"answered {answer[:100]!r}")


def _waited_ns(pid: int | str) -> dict[str, int]:
    """Of each thread."""
    waited = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            waited[task.name] = int((task / "schedstat").read_text().split()[1])
        except OSError:
            continue
    return waited


def _most_late(before: dict[str, int], after: dict[str, int]) -> int:
    """Of the thread that waited most: threads of one interpreter wait for each other's lock."""
    return max((after[task] - before.get(task, after[task]) for task in after), default=0)


def _rank(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0


if __name__ == "__main__":
    sys.exit(main())
