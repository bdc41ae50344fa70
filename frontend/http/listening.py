"""Closing of listening sockets without resetting connections."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

# Time for TCP handshakes in progress to complete; enough for nearby clients.
_HANDSHAKE_SECONDS = 0.002
_SO_ATTACH_FILTER = 26  # Linux, socket(7); Python's `socket` has no name for it


class _Instruction(ctypes.Structure):
    """An instruction of the kernel's packet filter: `struct sock_filter`."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_if_true", ctypes.c_uint8),
        ("jump_if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


# Drops packets that open a connection (SYN without ACK in byte 13 of the TCP header), keeps all others.
_DROP_SYN = (_Instruction * 5)(
    _Instruction(0x30, 0, 0, 13),  # load the byte
    _Instruction(0x54, 0, 0, 0x12),  # keep SYN and ACK of it
    _Instruction(0x15, 0, 1, 0x02),  # skip one unless it is SYN alone
    _Instruction(0x06, 0, 0, 0),  # drop the packet
    _Instruction(0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


async def last_connections(listeners: Sequence[socket.socket]) -> list[socket.socket]:
    """Accept all queued connections and those whose handshake is in progress. Close the listeners next.

    A connection completed after the last accept would be reset by the close. Therefore packets that open one
    are dropped from now on: the client's kernel retries after a second, finds the port closed, and its
    application sees "connection refused". Only Linux can do that; elsewhere some connections may be reset.
    """
    for listener in listeners:
        _drop_new_connections(listener)
    accepted = [connection for listener in listeners for connection in _accept_all(listener)]
    await asyncio.sleep(_HANDSHAKE_SECONDS)
    return accepted + [connection for listener in listeners for connection in _accept_all(listener)]


def _accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """Accept until the queue is empty or the process is out of file descriptors."""
    with suppress(OSError):
        while True:
            yield listener.accept()[0]


def _drop_new_connections(listener: socket.socket) -> None:
    if sys.platform != "linux":
        return
    program = _Program(len(_DROP_SYN), _DROP_SYN)
    with suppress(OSError):  # a sandbox may forbid filters
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
