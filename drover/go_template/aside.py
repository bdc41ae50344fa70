"""Parsing that stalls no event loop, and is done once for requests that carry the same template."""

from __future__ import annotations

from functools import lru_cache

from drover.aside import aside
from drover.go_template.template import Template, parse

# A millisecond's parsing.
_INLINE_CHARACTERS = 2048
# Parsed, a template takes some seventy times its length: the longest take 70 MB together.
_KEPT = 16


async def parse_aside(source: str) -> Template:
    """Raises TemplateError like `parse`."""
    return await aside(lambda: _parse_once(source), len(source), _INLINE_CHARACTERS)


@lru_cache(maxsize=_KEPT)
def _parse_once(source: str) -> Template:
    return parse(source)
