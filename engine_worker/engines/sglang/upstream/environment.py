"""What SGLang and torch read from their environment, set before either is imported."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine_worker.engines.sglang.upstream import VERSION, resume_mark

# Log probabilities as the model gives them; original_logprobs.py does the rest.
_WITHOUT_TEMPERATURE = "SGLANG_RETURN_ORIGINAL_LOGPROB"
_PLUGINS = Path(__file__).parent / "plugins"
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_METRICS_PREFIX = "drover-sglang-"


def check_installed() -> None:
    """Raises ValueError if SGLang is missing, or is another version than this code was written for."""
    try:
        installed = version("sglang")
    except PackageNotFoundError:
        raise ValueError(
            "the sglang engine needs an environment of its own: `make serve ENGINE=sglang` sets one up with "
            "the versions of requirements/sglang.txt; without a checkout: pip install 'drover[sglang]'"
        ) from None
    if installed != VERSION:
        raise ValueError(f"this engine was written for sglang {VERSION}, but {installed} is installed")


def prepare(threads: int, generates: bool) -> bool:
    """Set the environment of SGLang's processes; True if the engine will run on the CPU."""
    if not generates:
        # SGLang reserves a part of the context; Drover asks for that much more, and never uses it.
        os.environ.setdefault("SGLANG_ALLOW_OVERWRITE_LONGER_CONTEXT_LEN", "1")
    if METRICS_FOLDER not in os.environ:
        os.environ[METRICS_FOLDER] = tempfile.mkdtemp(prefix=_METRICS_PREFIX)
    resume_mark.choose()
    os.environ.setdefault(_WITHOUT_TEMPERATURE, "1")
    # On a machine with an accelerator torch's threads have little to do.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    # SGLang looks for entry points on the path, here and in every child process.
    if str(_PLUGINS) not in sys.path:
        sys.path.insert(0, str(_PLUGINS))
    if has_accelerator():
        return False
    # Each of its processes warns of kernels that are for GPUs only.
    os.environ.setdefault("PYTHONWARNINGS", "ignore::UserWarning")
    # Without a C++ compiler at hand, and for a first request that does not wait for it.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    return True


def clean_up() -> None:
    """Remove the files that SGLang leaves when it is killed."""
    folder = os.environ.get(METRICS_FOLDER, "")
    if Path(folder).name.startswith(_METRICS_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_logs() -> Iterator[None]:
    """Keep the process's log handlers, which SGLang replaces, and limit SGLang to warnings."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logging.getLogger("sglang").setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def has_accelerator() -> bool:
    """True if SGLang has a platform for this machine: an accelerator, or SGLang's own CPU build if chosen."""
    # Imported here: torch reads its environment when it is imported.
    import torch

    return torch.accelerator.is_available() or os.environ.get("SGLANG_USE_CPU_ENGINE") == "1"
