"""The environment of an older commit, from its own lock files: made once and kept in the checkout."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from benchmarks.table import progress

_LOCKS = ("frontend.txt", "worker.txt")


def environment_of(tree: Path, home: Path) -> str:
    """The path of its Python. `home` is made anew when the tree's lock files have changed.

    Raises subprocess.CalledProcessError when pip cannot install them.
    """
    locks = [tree / "requirements" / name for name in _LOCKS]
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()
    python, stamp = home / "bin" / "python", home / ".locks"
    if not stamp.is_file() or stamp.read_text() != digest:
        progress(f"making {home.name} from the lock files of {tree.name}, once: a minute or two")
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        install: list[str | Path] = [
            python,
            "-m",
            "pip",
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--no-deps",
        ]
        for lock in locks:
            subprocess.run([*install, "-qq", "--require-hashes", "-r", lock], check=True)
        stamp.write_text(digest)
    return str(python)
