"""A worker's process: started in a session of its own, or found again by a host that was started anew."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

_PROC = Path("/proc")
# Of /proc/PID/stat, counted after the name, which ends with a parenthesis.
_PARENT, _SESSION, _STARTED = 1, 3, 19
_KIB = 1024
# For what a worker has started to end with it.
_SESSION_SECONDS = 3.0
_POLL_SECONDS = 0.02


class WorkerProcess:
    """`started`: the kernel's start time of the process, which tells it from a later one of the same id."""

    def __init__(self, pid: int, started: int, is_own: bool) -> None:
        self.pid = pid
        self.started = started
        self.is_own = is_own
        self._status = 0
        self._is_killed_here = False
        self._ended = asyncio.Event()
        self._pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_end)

    @classmethod
    def start(cls, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Self:
        """Its output goes to the file `log`, which needs no host. Raises OSError.

        Not by `subprocess`, whose objects must not be dropped while the process runs.
        """
        pid = os.posix_spawn(
            command[0],
            list(command),
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        return cls(pid, _started(pid) or 0, is_own=True)

    @classmethod
    def find(cls, pid: int, started: int) -> Self | None:
        """The process, if it still runs."""
        if _started(pid) != started:
            return None
        with suppress(OSError):
            return cls(pid, started, is_own=False)
        return None

    async def wait(self) -> str:
        """Wait until it has ended. Returns how, in words, as far as that is known."""
        await self._ended.wait()
        if not self.is_own:
            return "started by an earlier process of this host"
        status = self._status
        return f"signal {-status}" if status < 0 else f"status {status}"

    @property
    def was_killed(self) -> bool:
        """Whether something else than this host has ended it, as far as that is known: its own exit status
        says why it ended by itself.
        """
        return not self._is_killed_here and (not self.is_own or self._status < 0)

    @property
    def has_ended(self) -> bool:
        return self._ended.is_set()

    def terminate(self) -> None:
        """Let it drain."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._is_killed_here = True
        self._send(signal.SIGKILL)

    def end_session(self) -> None:
        """Wait until what it has started has ended with it, and kill what does not: its memory is free only
        then. Call it when it has ended. Blocks.
        """
        until = time.monotonic() + _SESSION_SECONDS
        while _started(self.pid) is None and (left := _in_session(self.pid)):
            if time.monotonic() > until:
                for pid in left:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                return
            time.sleep(_POLL_SECONDS)

    def memory_bytes(self) -> int:
        """Of the process and its descendants, shared pages in proportion. Blocks for some milliseconds."""
        return sum(_proportional_bytes(pid) for pid in processes_of(self.pid))

    def forget(self) -> None:
        """Stop watching it; it continues."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _on_end(self) -> None:
        self.forget()
        if self.is_own:
            with suppress(ChildProcessError):
                _, status = os.waitpid(self.pid, 0)
                self._status = os.waitstatus_to_exitcode(status)
        self._ended.set()

    def _send(self, number: signal.Signals) -> None:
        if self._pidfd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, number)


def end_writers(log: Path) -> None:
    """Kill the processes whose output is this file: a worker that its host could not note before it died."""
    path = str(log.resolve())
    for entry in _PROC.iterdir():
        with suppress(OSError):
            if entry.name.isdecimal() and str((entry / "fd" / "1").readlink()) == path:
                os.kill(int(entry.name), signal.SIGKILL)


def _stat(pid: int) -> Sequence[str]:
    """The fields after the name, which may be any bytes; none for a process that is gone."""
    try:
        return (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ()


def _started(pid: int) -> int | None:
    fields = _stat(pid)
    return int(fields[_STARTED]) if fields and fields[0] != "Z" else None


def _in_session(leader: int) -> list[int]:
    """The processes of a session that run. While there are some, no other process gets its leader's id."""
    pids = (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdecimal())
    return [
        pid for pid in pids if (fields := _stat(pid)) and fields[0] != "Z" and fields[_SESSION] == str(leader)
    ]


def processes_of(root: int) -> Iterator[int]:
    """The process and its descendants. Blocks."""
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
