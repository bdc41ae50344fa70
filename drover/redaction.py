"""Takes secrets out of text that is kept or shown: clients and operators misplace them."""

from __future__ import annotations

import re

# As frontend/access/secret.py makes them: the id stays, which names the key.
_MARK = "drv_"
_SECRET = re.compile(r"(drv_[A-Za-z0-9.-]{1,64}_)[A-Za-z0-9_-]{20,}")
_URL_MARK = "://"
_PASSWORD = re.compile(r"(://[^\s/:@'\"]*:)[^\s/@'\"]+@")


def redacted(text: str) -> str:
    """The text with `***` in place of each secret of a key and each password in a URL."""
    if _MARK in text:
        text = _SECRET.sub(r"\1***", text)
    return _PASSWORD.sub(r"\1***@", text) if _URL_MARK in text else text
