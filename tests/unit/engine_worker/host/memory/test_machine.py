"""What the kernel's files say of memory, in each layout of cgroups."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine_worker.host.memory.machine import count_oom_kills, machine_bytes

GROUPS = "0::/pod/container\n4:cpu,memory:/docker/abc\n"


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        ("sys/fs/cgroup/pod/container/memory.max", "1000\n", 1000),
        # A limit of the group that the group is in, and a container that sees its own group as the outermost.
        ("sys/fs/cgroup/pod/memory.max", "2000\n", 2000),
        ("sys/fs/cgroup/memory.max", "3000\n", 3000),
        ("sys/fs/cgroup/unified/pod/container/memory.max", "4000\n", 4000),
        ("sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes", "5000\n", 5000),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "6000\n", 6000),
    ],
)
def test_the_limit_of_a_container_counts(tmp_path: Path, path: str, text: str, expected: int) -> None:
    write(tmp_path, "proc/self/cgroup", GROUPS)
    write(tmp_path, "sys/fs/cgroup/pod/container/memory.max", "max\n")
    write(tmp_path, path, text)
    assert machine_bytes(tmp_path) == expected


def test_without_a_limit_it_is_the_machines(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", GROUPS)
    write(tmp_path, "sys/fs/cgroup/pod/container/memory.max", "max\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    assert machine_bytes(tmp_path) == machine_bytes(tmp_path / "nothing") > 1 << 28


def test_the_kernels_count_of_its_kills(tmp_path: Path) -> None:
    assert count_oom_kills(tmp_path) == 0
    write(tmp_path, "proc/vmstat", "pgfault 7\noom_kill 3\n")
    assert count_oom_kills(tmp_path) == 3
