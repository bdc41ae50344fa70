"""Cores by affinity and by a container's quota."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine_worker import cpu


@pytest.fixture(autouse=True)
def _eight_cores_and_no_cgroup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(cpu, "_CGROUP_V2", tmp_path / "cpu.max")
    monkeypatch.setattr(cpu, "_CGROUP_V1_QUOTA", tmp_path / "quota")
    monkeypatch.setattr(cpu, "_CGROUP_V1_PERIOD", tmp_path / "period")


def test_without_a_quota_affinity_decides() -> None:
    assert cpu.usable_cores() == 8
    assert cpu.spare_one_core() == 7


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("250000 100000\n", 2),
        ("50000 100000\n", 1),
        ("1600000 100000\n", 8),
        ("", 8),
        ("rubbish 1", 8),
    ],
)
def test_a_quota_of_cgroup_2(tmp_path: Path, text: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(text)

    assert cpu.usable_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("300000", 3), ("10000", 1)])
def test_a_quota_of_cgroup_1(tmp_path: Path, quota: str, cores: int) -> None:
    (tmp_path / "quota").write_text(quota)
    (tmp_path / "period").write_text("100000")

    assert cpu.usable_cores() == cores


def test_there_is_always_a_thread(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("100000 100000")

    assert cpu.spare_one_core() == 1
