"""What Go 1.19 made of 200 templates: `record.go` with `recorded.jsonl`'s templates and data as its input."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from drover.go_template.errors import Budget, TemplateError
from drover.go_template.execution import Execution
from drover.go_template.parser import parse_source
from drover.go_template.values import Value

_FIRST, *_RECORDED = [
    orjson.loads(line) for line in (Path(__file__).parent / "recorded.jsonl").read_bytes().splitlines()
]
DATA: dict[str, Value] = _FIRST["data"]


def run(source: str, data: dict[str, Value] | None = None) -> str:
    definitions = parse_source(source)
    return Execution(definitions, source, Budget()).run(definitions[""], DATA if data is None else data)


@pytest.mark.parametrize("case", _RECORDED, ids=[case["template"] for case in _RECORDED])
def test_same_as_go(case: dict[str, str]) -> None:
    if "text" in case:
        assert run(case["template"]) == case["text"]
        return
    with pytest.raises(TemplateError) as failure:
        run(case["template"])
    assert failure.value.message == case["error"]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ range $i := 2 }}{{ $i }};{{ end }}", "0;1;"),
        ("{{ with .Z }}a{{ else with .N }}{{ . }}{{ end }}", "3"),
    ],
)
def test_features_of_newer_go(source: str, text: str) -> None:
    assert run(source) == text


def test_complex_numbers_are_refused() -> None:
    with pytest.raises(TemplateError, match="number syntax"):
        run("{{ 1i }}")


def test_a_functions_failure_has_the_position() -> None:
    with pytest.raises(TemplateError) as failure:
        run("a\n{{ index .L 9 }}")
    assert failure.value.message == (
        'template: :2:3: executing "" at <index .L 9>: error calling index: index out of range: 9'
    )


def test_dates_are_todays_and_yesterdays() -> None:
    today, yesterday = run("{{ currentDate }} {{ yesterdayDate }}").split()
    assert len(today) == len(yesterday) == len("2026-01-31")
    assert yesterday < today
