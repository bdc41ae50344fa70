"""Where a host is reached on its machine: a socket in its store's folder, which only its user enters."""

from __future__ import annotations

from pathlib import Path

_LONGEST_SOCKET_PATH = 100


def local_address(folder: Path) -> str:
    """Empty where the path is too long for a socket."""
    path = folder.absolute() / "host.sock"
    return f"unix:{path}" if len(str(path)) <= _LONGEST_SOCKET_PATH else ""
