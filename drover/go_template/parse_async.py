"""Parsing that stalls no event loop, and is done once for requests that carry the same template."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING

from drover.concurrency import run_in_thread_if_large

if TYPE_CHECKING:
    from drover.go_template.template import Template

# A millisecond's parsing.
_INLINE_CHARACTERS = 2048
# Parsed, a template takes some seventy times its length: the longest take 70 MB together.
_KEPT = 16


async def parse_async(source: str) -> Template:
    """Raises TemplateError like `parse`."""
    return await run_in_thread_if_large(lambda: _parse_once(source), len(source), _INLINE_CHARACTERS)


async def thinking_tags_aside(template: Template) -> tuple[str, str] | None:
    """As `thinking_tags`."""
    from drover.go_template.thinking import thinking_tags

    return await asyncio.to_thread(thinking_tags, template)


@lru_cache(maxsize=_KEPT)
def _parse_once(source: str) -> Template:
    """Most frontends never see a template: the parser, 2 MB, is imported for the first one."""
    from drover.go_template.template import parse

    return parse(source)
