"""Takes the secrets of keys out of text that is kept: a client may send one where it does not belong."""

from __future__ import annotations

import re

# As frontend/access/secret.py makes them: the id stays, which names the key.
_MARK = "drv_"
_SECRET = re.compile(r"(drv_[A-Za-z0-9.-]{1,64}_)[A-Za-z0-9_-]{20,}")


def redacted(text: str) -> str:
    """The text with `***` in place of each secret."""
    return _SECRET.sub(r"\1***", text) if _MARK in text else text
