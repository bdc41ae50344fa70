"""The tags around a template's thinking."""

from __future__ import annotations

import pytest

from drover.go_template.template import parse
from drover.go_template.thinking import thinking_tags


@pytest.mark.parametrize(
    ("around", "tags"),
    [
        ("<think>{{ .Thinking }}</think>", ("<think>", "</think>")),
        ("<think>\n{{ .Thinking }}\n</think>\n", ("<think>", "</think>")),
        ("[THINK]{{ .Thinking }}[/THINK]", ("[THINK]", "[/THINK]")),
        ("{{ .Thinking }}", None),
        ("<think>{{ .Thinking }}", None),
        ("{{ .Content }}", None),
        ("{{ slice .Thinking 0 900 }}", None),
    ],
)
def test_tags_are_the_markup_around_thinking(around: str, tags: tuple[str, str] | None) -> None:
    template = parse("{{ range .Messages }}{{ .Role }}: " + around + "{{ end }}")

    assert thinking_tags(template) == tags
