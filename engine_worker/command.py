"""The console script `drover-worker`."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the worker, or name the extra to install where one of its packages is missing."""
    try:
        from engine_worker.__main__ import main as run
    except ModuleNotFoundError as error:
        sys.stderr.write(
            f"drover-worker: the Python package {error.name} is not installed. Install the worker with "
            "llama.cpp and the simulator (pip install 'drover[worker]') or with SGLang "
            "(pip install 'drover[sglang]').\n"
        )
        return 1
    return run()
