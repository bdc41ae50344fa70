"""The console scripts `drover-worker` and `drover-host`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the worker, or name the extra to install where one of its packages is missing."""
    try:
        from engine_worker.__main__ import main as run
    except ModuleNotFoundError as error:
        return _explain("drover-worker", error)
    return run()


def host() -> int:
    """Run the worker host: `drover-host`."""
    try:
        from engine_worker.host.__main__ import main as run
    except ModuleNotFoundError as error:
        return _explain("drover-host", error)
    return run()


def _explain(command: str, error: ModuleNotFoundError) -> int:
    sys.stderr.write(
        f"{command}: the Python package {error.name} is not installed. Install the worker with llama.cpp and "
        "the simulator (pip install 'drover[worker]') or with SGLang (pip install 'drover[sglang]').\n"
    )
    return 1
