"""Members of an answer's last object that no protocol has, and that clients ignore."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from frontend.dialects.ollama.go_json import dumps_text

Beside = Callable[[], Mapping[str, str]]
"""Asked when the answer ends: what there is to say is known then."""


def members(beside: Beside) -> bytes:
    """`,"name":"text"` for each."""
    return b"".join(b",%b:%b" % (dumps_text(name), dumps_text(text)) for name, text in beside().items())
