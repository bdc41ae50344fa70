"""What a template tells a model to write."""

from __future__ import annotations

import pytest

from engine_worker.engines.sglang.upstream.tool_formats import tool_format_of


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ('{{- "<tool_call>\\n{\\"name\\": <function-name>}\\n</tool_call>" }}', "qwen25"),
        ('<tool_call>\n{"name": <function-name>}\n</tool_call>', "qwen25"),
        ('<tool_call>{"name": <function-name>}</tool_call>', "hermes"),
        ('Respond with {"name": function name, "parameters": dictionary of names and values}.', "llama3"),
        ("{{ message.content }}", None),
        ("", None),
    ],
)
def test_the_parser_of_a_template(written: str, name: str | None) -> None:
    assert tool_format_of(written) == name
