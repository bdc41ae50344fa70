"""The processes of an engine, watched: the first that ends, or says that it failed, is told."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterable
from contextlib import suppress


class Children:
    def __init__(self, failed: Callable[[str], None]) -> None:
        self._failed = failed
        self._loop = asyncio.get_running_loop()
        self._watched: set[int] = set()

    def watch(self, pids: Iterable[int]) -> None:
        for pid in pids:
            try:
                watched = os.pidfd_open(pid)
            except ProcessLookupError:
                self._failed(f"SGLang's process {pid} died")
                continue
            self._watched.add(watched)
            self._loop.add_reader(watched, self._ended, watched, pid)

    def forget(self) -> None:
        for watched in list(self._watched):
            self._unwatch(watched)

    def _ended(self, watched: int, pid: int) -> None:
        how = _how(watched)
        self._unwatch(watched)
        self._failed(f"SGLang's process {pid} died{how}")

    def _unwatch(self, watched: int) -> None:
        self._watched.discard(watched)
        self._loop.remove_reader(watched)
        os.close(watched)


def _how(watched: int) -> str:
    """Only of our own children it can be known, and only before multiprocessing reaps them."""
    ended = None
    with suppress(ChildProcessError):
        ended = os.waitid(os.P_PIDFD, watched, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if ended is None:
        return ""
    if ended.si_code == os.CLD_EXITED:
        return f" (exit status {ended.si_status})"
    name = signal.Signals(ended.si_status).name
    return f" ({name}: out of memory?)" if ended.si_status == signal.SIGKILL else f" ({name})"
