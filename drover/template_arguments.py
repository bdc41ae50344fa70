"""The names of template arguments that switch thinking, which every engine honours as its own switch."""

from __future__ import annotations

import json

from drover.v1 import engine_pb2 as pb

THINKING_SWITCHES = frozenset({"enable_thinking", "thinking"})


def needs_template(request: pb.GenerateRequest) -> bool:
    """Whether the request has template arguments whose effect only its model's own template can have."""
    text = request.template_arguments_json
    if not text:
        return False
    if request.think.mode == pb.Think.UNSET:
        return True
    arguments = json.loads(text)
    return not (isinstance(arguments, dict) and arguments.keys() <= THINKING_SWITCHES)
