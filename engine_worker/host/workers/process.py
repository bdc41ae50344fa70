"""A worker's process: started in a session of its own, or found again by a host that was started anew."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
# Of /proc/PID/stat, counted after the name, which ends with a parenthesis.
_PARENT, _STARTED = 1, 19
_KIB = 1024


class WorkerProcess:
    """`started`: the kernel's start time of the process, which tells it from a later one of the same id."""

    def __init__(self, pid: int, started: int, own: subprocess.Popen[bytes] | None) -> None:
        self.pid = pid
        self.started = started
        self._own = own
        self._ended = asyncio.Event()
        self._pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_end)

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Self:
        """Its output goes to the file `log`, which needs no host. Raises OSError."""
        with log.open("ab") as output:
            own = subprocess.Popen(
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(own.pid, _started(own.pid) or 0, own)

    @classmethod
    def find(cls, pid: int, started: int) -> Self | None:
        """The process, if it still runs."""
        if _started(pid) != started:
            return None
        with suppress(OSError):
            return cls(pid, started, None)
        return None

    async def wait(self) -> str:
        """Wait until it has ended. Returns how, in words, as far as that is known."""
        await self._ended.wait()
        if self._own is None:
            return "it ended while this host was not its parent"
        status = self._own.wait()
        return f"signal {-status}" if status < 0 else f"status {status}"

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def terminate(self) -> None:
        """Let it drain."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def memory_bytes(self) -> int:
        """Of the process and its descendants, shared pages in proportion. Blocks for some milliseconds."""
        return sum(_proportional_bytes(pid) for pid in _tree(self.pid))

    def forget(self) -> None:
        """Stop watching it; it continues."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _on_end(self) -> None:
        self.forget()
        self._ended.set()

    def _send(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)


def _stat(pid: int) -> Sequence[str]:
    """The fields after the name; none for a process that is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ()


def _started(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[_STARTED]) if fields and fields[0] != "Z" else None


def _tree(root: int) -> Iterator[int]:
    children: dict[int, list[int]] = {}
    for pid in (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal()):
        if fields := _stat(pid):
            children.setdefault(int(fields[_PARENT]), []).append(pid)
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        yield pid
        waiting += children.get(pid, [])


def _proportional_bytes(pid: int) -> int:
    try:
        text = (_PROC / str(pid) / "smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * _KIB
    return 0
