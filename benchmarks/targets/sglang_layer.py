"""SGLang's own Ollama layer over a stub source, as a process in SGLang's environment."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from benchmarks.targets.base import Offer, Target
from frontend.health import is_ok
from tests.support.processes import SGLANG_PYTHON, free_port, launched
from tests.support.waiting import wait_until

Wait = Literal["timeout", "free"]
NAMES: Mapping[Wait, str] = {"timeout": "SGLang's layer", "free": "SGLang's layer, free wait"}
_PACKAGES = ("sglang", "uvicorn", "uvloop", "h11", "fastapi", "orjson")
_READY_SECONDS = 180.0
_SETTLE_SECONDS = 1.0


@contextmanager
def sglang_layer(folder: Path, offer: Offer, wait: Wait = "timeout") -> Iterator[Target | None]:
    """The target, None without SGLang's environment. `wait`: how requests wait for a step (sglang_app.py)."""
    python = os.environ.get(SGLANG_PYTHON)
    if not python:
        yield None
        return
    address = f"127.0.0.1:{(port := free_port())}"
    command = ["-m", "benchmarks.targets.sglang_app", str(port), str(offer.step_ms), str(offer.tokens), wait]
    with launched(command, address, folder / f"sglang-{wait}.log", python, _READY_SECONDS) as process:
        wait_until(
            lambda: process.popen.poll() is not None or is_ok(f"http://{address}/health"),
            _READY_SECONDS,
            "SGLang's layer answers",
        )
        if process.popen.poll() is not None:
            raise RuntimeError(f"SGLang's layer ended with {process.popen.returncode}:\n{process.log_text()}")
        yield Target(NAMES[wait], address, {"frontend": process.pid}, lambda: asyncio.sleep(_SETTLE_SECONDS))


def sglang_versions() -> Mapping[str, str]:
    """Versions of the packages that serve SGLang's layer; empty without its environment."""
    python = os.environ.get(SGLANG_PYTHON)
    if not python:
        return {}
    code = (
        f"import json, importlib.metadata as m; print(json.dumps({{n: m.version(n) for n in {_PACKAGES}}}))"
    )
    asked = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return {str(name): str(version) for name, version in json.loads(asked.stdout).items()}
