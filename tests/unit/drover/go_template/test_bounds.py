"""Every template ends within the bounds, and fails only with a TemplateError."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drover.go_template.errors import MAX_SOURCE, TemplateError
from drover.go_template.template import parse
from drover.v1 import engine_pb2 as pb
from tests.support.cpu_time import within_cpu

_MESSAGES = [
    pb.Message(role=role, content=f"text {number} of {role} 🌍")
    for number in range(3)
    for role in ("system", "user", "assistant", "tool")
]
_TOOLS = [pb.Tool(name="f", parameters_json='{"properties":{"a":{"type":["string","null"]}}}')]
_SECONDS = 5.0

_PIECES = st.sampled_from(
    [
        *(
            "{{",
            "}}",
            "{{- ",
            " -}}",
            " ",
            "\n",
            "|",
            "(",
            ")",
            ",",
            ":=",
            "=",
            "$",
            "$x",
            "$i, $e",
            "/*",
            "*/",
        ),
        *(".", ".Messages", ".Tools", ".Prompt", ".Response", ".Role", ".Content", ".Nope.X", ".Function"),
        *("if ", "{{else}}", "{{end}}", "range ", "with ", 'define "a"', 'template "a" .', 'block "b" .'),
        *(
            "{{break}}",
            "{{continue}}",
            "index ",
            "slice ",
            "len ",
            "eq ",
            "and ",
            "or ",
            "not ",
            "json ",
            "print ",
        ),
        *('printf "%5.3v%q" ', "html ", "js ", "lt ", "call ", "toTypeScriptType ", "nil", "true"),
        *('"é\\n"', "`r`", "'x'", "0", "1", "-1", "1.5", "1e300", "0x1p-2", "99999999999999999999"),
        *("{{range .Messages}}", "{{range $i, $e := $.Messages}}", "{{if .Role}}", "{{.}}", "{{$.System}}"),
    ]
)
_SOURCES = st.one_of(st.text(max_size=60), st.lists(_PIECES | st.text(max_size=3), max_size=30).map("".join))


@given(_SOURCES)
@settings(max_examples=500, deadline=None)
def test_any_source_is_run_or_refused(source: str) -> None:
    with within_cpu(_SECONDS), suppress(TemplateError):
        template = parse(source)
        template.render_gap("before", "after")
        template.render_chat(_MESSAGES, _TOOLS, pb.Think(mode=pb.Think.ON))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (
            '{{ define "a" }}{{ template "a" . }}{{ end }}{{ template "a" . }}{{ .Messages }}',
            "maximum template depth",
        ),
        (
            '{{ define "a" }}{{ range .}}{{ template "a" $ }}{{ end }}{{ end }}{{ template "a" .Messages }}',
            "depth",
        ),
        ("{{ range 999999999 }}{{ end }}{{ .Messages }}", "steps"),
        ("{{ range 9999 }}{{ range 9999 }}x{{ end }}{{ end }}{{ .Messages }}", "steps"),
        ('{{ $x := "ab" }}{{ range 99 }}{{ $x = print $x $x }}{{ end }}{{ .Messages }}', "characters"),
        ('{{ range 999 }}{{ printf "%999999d" 1 }}{{ end }}{{ .Messages }}', "characters"),
        ("{{ if 1 }}" * 51 + "{{ end }}" * 51, "within each other"),
        ("{{ " + "(" * 51 + "1" + ")" * 51 + " }}", "within each other"),
        ("{{ if 1 }}" + "{{ else if 1 }}" * 51 + "{{ end }}", "within each other"),
        ("{{ $x := 1 }}" * 202, "variables"),
        ("x" * (MAX_SOURCE + 1), "characters"),
    ],
)
def test_templates_that_exceed_the_bounds(source: str, words: str) -> None:
    with within_cpu(_SECONDS), pytest.raises(TemplateError, match=words):
        parse(source).render_chat(_MESSAGES)


DEEP = '{"properties":{"a":' * 300 + "{}" + "}}" * 300


def test_deep_json() -> None:
    source = "{{ .Messages }}{{ range .Tools }}{{ . }}{{ end }}"
    with pytest.raises(TemplateError, match="deeply"):
        parse(source).render_chat([], [pb.Tool(name="f", parameters_json=DEEP)])


def test_deep_arguments_are_shown_as_text() -> None:
    call = pb.Message(role="assistant", tool_calls=[pb.ToolCall(name="f", arguments_json=DEEP)])
    shown = parse("{{ range .Messages }}{{ .ToolCalls }}{{ end }}").render_chat([call], [])
    assert "INVALID_JSON" in shown
