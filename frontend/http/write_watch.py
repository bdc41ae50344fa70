"""Detection of clients that stop reading, by the bytes they have not acknowledged."""

from __future__ import annotations

import array
import asyncio
import fcntl
import socket
import termios
from collections.abc import Callable


class WriteWatch:
    """Calls `on_stall` when a client takes nothing for `seconds` (0: never) between `start` and `stop`.

    A stall is noticed after twice `seconds` at most. Nothing may be written in the meantime.
    """

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        loop: asyncio.AbstractEventLoop,
        seconds: float,
        on_stall: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._seconds = seconds
        self._on_stall = on_stall
        self._timer: asyncio.TimerHandle | None = None
        self._outstanding = 0

    def start(self) -> None:
        if self._timer is None and self._seconds:
            self._outstanding = self.outstanding_bytes()
            self._timer = self._loop.call_later(self._seconds, self._check)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check(self) -> None:
        self._timer = None
        if not self._transport.get_write_buffer_size():
            return
        before = self._outstanding
        self.start()
        if self._outstanding >= before:
            self.stop()
            self._on_stall()

    def outstanding_bytes(self) -> int:
        """Bytes that the client has not acknowledged, in this process and in the kernel."""
        return self._transport.get_write_buffer_size() + _kernel_bytes(
            self._transport.get_extra_info("socket")
        )


def _kernel_bytes(connection: socket.socket | None) -> int:
    if connection is None:
        return 0
    queued = array.array("i", [0])
    try:
        fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, queued)
    except (OSError, ValueError):
        return 0
    return queued[0]
