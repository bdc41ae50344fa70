"""Clients that stop reading: found by how much of what was written they have not taken."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import termios
from collections.abc import Callable


class WriteWatch:
    """Between `begin` and `end` calls `stalled` when the client has taken nothing for `seconds`, which is
    noticed after twice as long at most. Nothing may be written meanwhile.
    """

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        stalled: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._seconds = seconds
        self._stalled = stalled
        self._timer: asyncio.TimerHandle | None = None
        self._outstanding = 0

    def begin(self) -> None:
        if self._timer is None and self._seconds:
            self._outstanding = self.outstanding()
            self._timer = self._loop.call_later(self._seconds, self._look)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            return
        before = self._outstanding
        self.begin()
        if self._outstanding >= before:
            self.end()
            self._stalled()

    def outstanding(self) -> int:
        """Bytes that the client has not acknowledged, here and in the kernel."""
        return self._transport.get_write_buffer_size() + _in_kernel(self._transport.get_extra_info("socket"))


def _in_kernel(connection: socket.socket | None) -> int:
    if connection is None:
        return 0
    queued = array.array("i", [0])
    try:
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, queued)
    except (OSError, ValueError):
        return 0
    return queued[0]
