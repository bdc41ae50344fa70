"""The end of listening sockets without a reset connection."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress

# A connection that has begun is made within this time, where the client is near.
_HANDSHAKE_SECONDS = 0.002
_SO_ATTACH_FILTER = 26  # Linux, socket(7); Python's `socket` has no name for it


class _Instruction(ctypes.Structure):
    """Of the kernel's packet filter: `struct sock_filter`."""

    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jump_if_true", ctypes.c_uint8),
        ("jump_if_false", ctypes.c_uint8),
        ("operand", ctypes.c_uint32),
    )


class _Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


# Drops a packet that begins a connection (SYN without ACK in the TCP header's byte 13), keeps all others.
_NO_NEW_CONNECTION = (_Instruction * 5)(
    _Instruction(0x30, 0, 0, 13),  # load the byte
    _Instruction(0x54, 0, 0, 0x12),  # keep SYN and ACK of it
    _Instruction(0x15, 0, 1, 0x02),  # skip one unless it is SYN alone
    _Instruction(0x06, 0, 0, 0),  # drop the packet
    _Instruction(0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


async def last_connections(listeners: Sequence[socket.socket]) -> list[socket.socket]:
    """Accept all that wait and all that are being made; close the listeners next.

    A connection that is made after the last accept would be reset by the close. So those that begin from here
    on are dropped: the client's system tries again after a second and finds the port closed, which its
    application sees as refused. Only Linux can do that; elsewhere some may be reset.
    """
    for listener in listeners:
        _drop_new(listener)
    waiting = [connection for listener in listeners for connection in _accepted(listener)]
    await asyncio.sleep(_HANDSHAKE_SECONDS)
    return waiting + [connection for listener in listeners for connection in _accepted(listener)]


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """Accept as many as can be had: a full table of files ends it too."""
    with suppress(OSError):
        while True:
            yield listener.accept()[0]


def _drop_new(listener: socket.socket) -> None:
    if sys.platform != "linux":
        return
    program = _Program(len(_NO_NEW_CONNECTION), _NO_NEW_CONNECTION)
    with suppress(OSError):  # a sandbox may forbid filters
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, bytes(program))
