"""The load client of the benchmarks, as users run it, against both tiers in each API."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from benchmarks.client.dialects import Name
from tests.support.processes import ROOT, Stack


def run_load(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.load", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("api", get_args(Name))
def test_every_line_of_each_api_is_sound(simulated: Stack, tmp_path: Path, api: str) -> None:
    numbers = tmp_path / "numbers.json"
    flags = ("--streams", "4", "--seconds", "1", "--tokens", "8", "--api", api, "--json", str(numbers))
    ran = run_load("--url", simulated.url, "--model", "sim", *flags)
    assert ran.returncode == 0, ran.stderr + ran.stdout
    assert "every line is sound" in ran.stdout
    found = json.loads(numbers.read_text())
    assert found["answers"] >= 4
    assert found["lines"] > found["answers"]
    assert found["tokens"] >= found["lines"]
    assert 0 < found["gap_ms"]["p50"] <= found["gap_ms"]["p99.9"]


def test_a_missing_model_fails_the_load(simulated: Stack) -> None:
    ran = run_load("--url", simulated.url, "--model", "nothing", "--streams", "1", "--seconds", "0.3")
    assert ran.returncode == 1
    assert "model 'nothing' not found" in ran.stdout
