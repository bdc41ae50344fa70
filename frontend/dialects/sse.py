"""Server-sent events, as the OpenAI and Anthropic dialects stream them."""

from __future__ import annotations

CONTENT_TYPE = b"text/event-stream"
# Readers skip it.
COMMENT = b":\n\n"


def frame(data: bytes, event: bytes = b"") -> bytes:
    """`data` has no line break in it, as compact JSON never has."""
    return b"event: %b\ndata: %b\n\n" % (event, data) if event else b"data: %b\n\n" % data
