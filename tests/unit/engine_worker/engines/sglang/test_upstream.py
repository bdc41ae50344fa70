"""SGLang is touched in one place."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from engine_worker.engines.sglang.upstream import VERSION
from tests.support.processes import ROOT

_IMPORT = re.compile(r"^\s*(from|import) sglang\b", re.MULTILINE)


def test_sglang_is_imported_in_one_folder_only() -> None:
    folders = ("engine_worker", "frontend", "drover", "scripts")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    upstream = ROOT / "engine_worker/engines/sglang/upstream"
    assert [path for path in files if upstream not in path.parents and _IMPORT.search(path.read_text())] == []
    assert any(_IMPORT.search(path.read_text()) for path in upstream.glob("*.py"))


def test_the_version_is_the_locked_one() -> None:
    assert f"\nsglang=={VERSION} " in (ROOT / "requirements/sglang.txt").read_text()


def test_without_sglang_the_worker_says_what_to_do(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WITHOUT_SGLANG]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "make serve ENGINE=sglang" in ended.stdout


_WITHOUT_SGLANG = """
from importlib.metadata import PackageNotFoundError
from engine_worker.engines.sglang.upstream import environment
def missing(name):
    raise PackageNotFoundError(name)
environment.version = missing
try:
    environment.check_installed()
except ValueError as error:
    print(error)
"""
