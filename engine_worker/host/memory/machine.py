"""The machine's memory, as the kernel tells it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Controller, where its hierarchy may be, and the file with its limit: cgroup v2, hybrid, and v1.
_LIMITS = (
    ("", "sys/fs/cgroup", "memory.max"),
    ("", "sys/fs/cgroup/unified", "memory.max"),
    ("memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes"),
)


def machine_bytes(root: Path = Path("/")) -> int:
    """Of the machine, or what the cgroups of this process allow it, as in a container."""
    physical = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([physical, *_cgroup_limits(root)])


def count_oom_kills(root: Path = Path("/")) -> int:
    """Processes that the kernel has killed for lack of memory, in all cgroups; 0 where it does not say."""
    with suppress(OSError, ValueError):
        for line in (root / "proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0


def _cgroup_limits(root: Path) -> Iterator[int]:
    """A group has the limits of those that it is in, too."""
    for controller, path in _cgroups(root):
        for wanted, mount, limit in _LIMITS:
            if controller == wanted:
                group = root / mount / path.lstrip("/")
                for folder in (group, *group.parents):
                    # There is none in the outermost group, and none for "max".
                    with suppress(OSError, ValueError):
                        yield int((folder / limit).read_text())
                    if folder == root / mount:
                        break


def _cgroups(root: Path) -> Iterator[tuple[str, str]]:
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            yield from ((controller, path) for controller in controllers.split(","))
