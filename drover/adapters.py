"""Adapters (LoRA) as both tiers name them: their files, and the digest by which requests refer to one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from drover.v1 import engine_pb2 as pb

GGUF_FILE = "adapter.gguf"
CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
GGUF_FILES = (GGUF_FILE,)
SAFETENSORS_FILES = (CONFIG_FILE, WEIGHTS_FILE)
MAX_PART_BYTES = 1024 * 1024
_HEX = re.compile(r"[0-9a-f]{64}")


def is_hex_digest(text: str) -> bool:
    return _HEX.fullmatch(text) is not None


def adapter_digest(files: Iterable[tuple[str, str]]) -> str:
    """64 hex digits of an adapter's files: the name of each, and the SHA-256 of its bytes in hex."""
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(files))
    return hashlib.sha256(f"adapter\n{lines}".encode()).hexdigest()


def digest_of_header(header: pb.AdapterHeader) -> str:
    """The digest that an adapter of these files has."""
    return adapter_digest((file.name, file.sha256) for file in header.files)
