"""A frontend that needs keys, and keys made on its command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from tests.support.processes import ROOT


@dataclass(frozen=True, slots=True)
class Locked:
    """`keys`: secrets by their roles; each key is named after its role."""

    url: str
    keys: Mapping[str, str]


def make_key(database: str, name: str, role: str) -> str:
    """The secret of a new key."""
    python = os.environ.get("DROVER_TEST_PYTHON", sys.executable)
    command = ["-m", "frontend", "keys", "create", "--name", name, "--role", role, "--json"]
    made = subprocess.run(
        [python, *command, "--database-url", database], cwd=ROOT, check=True, capture_output=True, timeout=30
    )
    secret: str = json.loads(made.stdout)["secret"]
    return secret
