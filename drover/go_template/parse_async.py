"""Parses templates off the event loop, and caches them for requests with the same source."""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import TYPE_CHECKING

from drover.concurrency import run_in_thread_if_large

if TYPE_CHECKING:
    from drover.go_template.template import Template

# Characters parsed in about 1 ms.
_INLINE_CHARACTERS = 2048
# A parsed template takes about 70 times its length: the longest ones take 70 MB together.
_KEPT = 16


async def parse_async(source: str) -> Template:
    """`parse`, in a thread if the source is long. Raises TemplateError."""
    return await run_in_thread_if_large(lambda: _parse_once(source), len(source), _INLINE_CHARACTERS)


async def thinking_tags_aside(template: Template) -> tuple[str, str] | None:
    """`thinking_tags` in a thread."""
    from drover.go_template.thinking import thinking_tags

    return await asyncio.to_thread(thinking_tags, template)


@lru_cache(maxsize=_KEPT)
def _parse_once(source: str) -> Template:
    """Import the parser, which takes 2 MB, for the first template; most frontends never get one."""
    from drover.go_template.template import parse

    return parse(source)
