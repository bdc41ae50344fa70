"""The bounds of one connection, and of all together."""

from __future__ import annotations

import resource
from dataclasses import dataclass

# Descriptors that are not clients': channels to workers, the database, files.
_OTHER_DESCRIPTORS = 256


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """`header_bytes`: of a request line and its header fields, or of what frames a chunked body.
    `header_seconds`: for them to arrive. `write_seconds`: how long a client may take none of its answer.
    """

    most: int
    most_of_one_address: int
    header_bytes: int
    header_seconds: float
    write_seconds: float


def usable_connections(most: int) -> int:
    """Return `most`, or fewer where the process's limit of file descriptors leaves no more."""
    return min(most, max(1, raised_descriptor_limit() - _OTHER_DESCRIPTORS))


def raised_descriptor_limit() -> int:
    """The number of file descriptors that this process may have, raised as far as it may raise it itself."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return 2**31 if hard == resource.RLIM_INFINITY else hard
