"""A cgroup with a limit of memory, in which the kernel kills what takes more. Needs root."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support.waiting import wait_until

_CGROUPS = Path("/sys/fs/cgroup")
_END_SECONDS = 20.0


@contextmanager
def memory_group(limit_bytes: int) -> Iterator[Sequence[str]]:
    """The command within which a process, with all that it starts, belongs to the group."""
    is_v1 = (_CGROUPS / "memory").is_dir()
    group = (_CGROUPS / "memory" if is_v1 else _CGROUPS) / f"drover-{secrets.token_hex(4)}"
    if not is_v1:
        (_CGROUPS / "cgroup.subtree_control").write_text("+memory")
    group.mkdir()
    try:
        (group / ("memory.limit_in_bytes" if is_v1 else "memory.max")).write_text(str(limit_bytes))
        yield ["sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh"]
    finally:
        members = group / "cgroup.procs"
        wait_until(lambda: not members.read_text(), _END_SECONDS, "all processes of the group have ended")
        group.rmdir()
