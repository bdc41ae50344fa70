"""Go's html, js and urlquery."""

from __future__ import annotations

import re
from urllib.parse import quote_plus

_HTML = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&#34;", "'": "&#39;", "\0": "\N{REPLACEMENT CHARACTER}"}
)
_JS_SPECIAL = re.compile(r"[\\'\"<>&=]|[\x00-\x1f]|[^\x00-\x7f]")
_JS_BACKSLASHED = "\\'\""


def html(text: str) -> str:
    return text.translate(_HTML)


def js(text: str) -> str:
    return _JS_SPECIAL.sub(_js, text)


def _js(found: re.Match[str]) -> str:
    character = found.group()
    if character in _JS_BACKSLASHED:
        return f"\\{character}"
    if not character.isascii() and character.isprintable():
        return character
    return f"\\u{ord(character):04X}"


def urlquery(text: str) -> str:
    return quote_plus(text.encode(errors="replace"), safe="~")
