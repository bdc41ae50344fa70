"""Finds the tags that a template writes around an assistant's thinking."""

from __future__ import annotations

import re

from drover.go_template.errors import TemplateError
from drover.go_template.template import Template
from drover.v1 import engine_pb2 as pb

# Sample texts that no template contains.
_ASKS, _THINKS, _ANSWERS = "drover-asks", "drover-thinks", "drover-answers"
_TAGS = re.compile(rf"(<[^<>\s]+>|\[[A-Z_]+\])\s*{_THINKS}\s*(<[^<>\s]+>|\[/?[A-Z_]+\])")
_CONVERSATION = (
    pb.Message(role="user", content=_ASKS),
    pb.Message(role="assistant", content=_ANSWERS, thinking=_THINKS),
    pb.Message(role="user", content=_ASKS),
)


def thinking_tags(template: Template) -> tuple[str, str] | None:
    """The opening and closing tag, found by rendering a sample; None if the template writes no thinking, or
    not between two tags. Blocks for one rendering.
    """
    if not template.uses("thinking"):
        return None
    try:
        found = _TAGS.search(template.render_chat(_CONVERSATION, (), pb.Think(mode=pb.Think.ON)))
    except TemplateError:
        return None
    return (found[1], found[2]) if found else None
