"""Tool formats of widely used templates that SGLang's own look at a template does not find.

Its rules know such a format only together with thinking; a name given with --tool-call-parser comes first.
"""

from __future__ import annotations

import re

# The text of a template, and SGLang's parser for it. Jinja may write a line break as \n.
_FORMATS = (
    (re.compile(r"<tool_call>(\\n|\n)"), "qwen25"),
    (re.compile(r"<tool_call>"), "hermes"),
    (re.compile(r'\{"name": function name, "parameters": '), "llama3"),
)


def tool_format_of(template: str) -> str | None:
    """The name of SGLang's parser for a template; None if no format is recognised."""
    return next((name for written, name in _FORMATS if written.search(template)), None)
