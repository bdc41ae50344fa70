"""Whether SGLang finds a platform of its own here."""

from __future__ import annotations

import os

import torch


def has_accelerator() -> bool:
    """Also true where an operator chose SGLang's own CPU build, which brings a platform too."""
    return torch.accelerator.is_available() or os.environ.get("SGLANG_USE_CPU_ENGINE") == "1"
